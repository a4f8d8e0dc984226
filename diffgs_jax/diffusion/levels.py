"""The noise levels that a sampler goes through, and what connects two of them.

From here on a schedule with β and one without are the same: everything a sampler needs of two levels is how much signal
and how much noise each has.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32

from diffgs_jax.diffusion.options import Quirks
from diffgs_jax.diffusion.schedules import Schedule, shifted
from diffgs_jax.diffusion.spacing import Spacing, spaced_steps, spaced_times


class Levels(NamedTuple):
    """The steps of a sampler in order of rising noise: each goes from a level to a less noisy one, the next.

    Attributes:
        timesteps: `[steps]` as told to a denoiser.
        alpha: `[steps]` α of the level a step starts from.
        variance: `[steps]` σ² there.
        half_log_snr: `[steps]` λ = log(α / σ) there; −∞ where there is no signal.
        next_alpha: `[steps]` α' of the level a step leads to.
        next_variance: `[steps]` σ'² there; 0 for the clean array.
        kept: `[steps]` α / α', the factor of q(x_t | x_{t'}).
        beta: `[steps]` σ² − (α / α')² σ'², its variance: β of the respaced schedule, where there is one.
    """

    timesteps: Int32[np.ndarray, "steps"] | Float32[np.ndarray, "steps"]
    alpha: Float64[np.ndarray, "steps"]
    variance: Float64[np.ndarray, "steps"]
    half_log_snr: Float64[np.ndarray, "steps"]
    next_alpha: Float64[np.ndarray, "steps"]
    next_variance: Float64[np.ndarray, "steps"]
    kept: Float64[np.ndarray, "steps"]
    beta: Float64[np.ndarray, "steps"]

    @property
    def sigma(self) -> Float64[np.ndarray, "steps"]:
        """Returns σ of the level a step starts from."""
        return np.sqrt(self.variance)

    @property
    def next_sigma(self) -> Float64[np.ndarray, "steps"]:
        """Returns σ' of the level a step leads to."""
        return np.sqrt(self.next_variance)

    @property
    def posterior_variance(self) -> Float64[np.ndarray, "steps"]:
        """Returns β̃, the variance of q(x_{t'} | x_t, x_0) (Ho et al. 2020, eq. 7); 0 where x_{t'} is x_0."""
        return self.beta * self.next_variance / self.variance


def visited_levels(schedule: Schedule, steps: int, spacing: Spacing, quirks: Quirks) -> Levels:
    """Returns the levels that a sampler of `steps` steps visits.

    Raises:
        UserError: if there are not that many steps.
    """
    return (_flow_levels if schedule.is_flow else _variance_preserving_levels)(schedule, steps, spacing, quirks)


def _variance_preserving_levels(schedule: Schedule, steps: int, spacing: Spacing, quirks: Quirks) -> Levels:
    rows, signal = spaced_steps(schedule.steps, steps, spacing, quirks.leading_offset), schedule.alphas_cumprod
    end = signal[0] if quirks.ends_at_first_timestep else 1.0
    if quirks.fixed_stride:
        following = rows - schedule.steps // steps
        next_signal = np.where(following < 0, end, signal[np.maximum(following, 0)])
    else:
        next_signal = np.concatenate([[end], signal[rows[:-1]]])
    signal = signal[rows]
    beta = 1.0 - signal / next_signal
    return Levels(
        timesteps=schedule.timesteps[rows],
        alpha=np.sqrt(signal),
        variance=1.0 - signal,
        half_log_snr=(np.log(signal) - np.log1p(-signal)) / 2,
        next_alpha=np.sqrt(next_signal),
        next_variance=1.0 - next_signal,
        kept=np.sqrt(1.0 - beta),
        beta=beta,
    )


def _flow_levels(schedule: Schedule, steps: int, spacing: Spacing, quirks: Quirks) -> Levels:
    total, shift = schedule.steps, 1.0 if schedule.shift is None else schedule.shift
    times = spaced_times(total, steps, spacing)
    if quirks.shifts_twice:
        first, last = shifted(np.array([1.0 / total, 1.0]), shift)
        times = np.flip(np.linspace(last, first, steps))
    if quirks.starts_below_noise:
        times = times * (1.0 - 1.0 / total)
    sigma = shifted(times, shift)
    alpha, next_sigma = 1.0 - sigma, np.concatenate([[0.0], sigma[:-1]])
    next_alpha = 1.0 - next_sigma
    kept = alpha / next_alpha
    with np.errstate(divide="ignore"):  # no signal at σ = 1
        half_log_snr = np.log(alpha) - np.log(sigma)
    return Levels(
        timesteps=(total * sigma).astype(np.float32),
        alpha=alpha,
        variance=sigma**2,
        half_log_snr=half_log_snr,
        next_alpha=next_alpha,
        next_variance=next_sigma**2,
        kept=kept,
        beta=sigma**2 - kept**2 * next_sigma**2,
    )
