"""Samplers as tables of numbers.

Every sampler here is one linear rule, applied once per step to the noisy array, the denoiser's present and previous
predictions of the clean one, and fresh noise:

    x' = a · x + b · x̂_0 + c · x̂_0(previous step) + d · z

so a sampler is four columns of coefficients, computed once in float64, and one loop (`sampling.py`) runs them all.
"""

from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int32

from diffgs_jax.diffusion.schedules import Schedule, Spacing, posterior, respace
from diffgs_jax.errors import UserError

SamplerKind = Literal[
    "ddpm",  # ancestral on the respaced schedule, variance β (the published DiffusionGS sampler)
    "ddim",  # Song et al. 2021; eta between 0 (deterministic) and 1 (ancestral, variance β̃)
    "dpm",  # DPM-Solver++(2M), deterministic, second order (Lu et al. 2022)
]


class Sampler(NamedTuple):
    """The steps of a sampler, noisiest first.

    A column that a sampler has no use for is None, so what a loop has to carry is known without looking at numbers.

    Attributes:
        timesteps: `[steps]` training timesteps, as told to the denoiser.
        x: `[steps]` factor of the noisy array.
        x0: `[steps]` factor of the prediction made at this step.
        previous_x0: `[steps]` factor of the prediction of the step before, 0 at the first; None for one-step rules.
        noise: `[steps]` standard deviation of the noise put back, 0 at the last; None for deterministic samplers.
    """

    timesteps: Int32[Array | np.ndarray, "steps"]
    x: Float[Array | np.ndarray, "steps"]
    x0: Float[Array | np.ndarray, "steps"]
    previous_x0: Float[Array | np.ndarray, "steps"] | None = None
    noise: Float[Array | np.ndarray, "steps"] | None = None


def make_sampler(
    schedule: Schedule,
    kind: SamplerKind = "ddim",
    steps: int = 30,
    *,
    eta: float = 0.0,
    spacing: Spacing | None = None,
) -> Sampler:
    """Computes the coefficients of a sampler; its last step lands on the prediction itself, without noise.

    Args:
        schedule: the one trained with.
        kind: the rule.
        steps: number of denoiser calls, 1 to `schedule.steps`.
        eta: how random DDIM is, in [0, 1]; the other samplers have no such choice.
        spacing: which timesteps are visited. None is "linspace", as published, but "trailing" for dpm: with few steps
            the last stride of linspace, down to t = 0, is several times longer in log σ than the one before, too far
            for a multistep rule to extrapolate.

    Raises:
        UserError: if a setting is out of range.
    """
    if eta and kind != "ddim":
        raise UserError(f"eta is a setting of the ddim sampler; leave it at 0 for {kind}")
    if not 0.0 <= eta <= 1.0:
        raise UserError(f"eta is {eta}; give 0 to 1")
    if spacing is None:
        spacing = "trailing" if kind == "dpm" else "linspace"
    respaced = respace(schedule, steps, spacing)
    if kind == "ddpm":
        ascending = _ancestral(respaced)
    elif kind == "ddim":
        ascending = _implicit(respaced, eta)
    elif kind == "dpm":
        ascending = _multistep(respaced)
    else:
        raise UserError(f"sampler is {kind!r}; give one of ddim, ddpm, dpm")
    return jax.tree.map(np.flip, ascending)


def _ancestral(schedule: Schedule) -> Sampler:
    """Draws from p(x_{t−1} | x_t) with the upper bound β as its variance (Ho et al. 2020, section 3.2), unclipped."""
    coefficients = posterior(schedule)
    variance = np.concatenate([[0.0], schedule.betas[1:]])  # the last step is not noised
    return Sampler(
        schedule.timestep_map, coefficients.mean_x_t, coefficients.mean_x0, previous_x0=None, noise=np.sqrt(variance)
    )


def _implicit(schedule: Schedule, eta: float) -> Sampler:
    """Follows Song et al. 2021 (DDIM), eq. 12, with the noise of x_t written as (x_t − α_t x̂_0) / σ_t."""
    alpha, sigma = schedule.alpha, schedule.sigma
    next_alpha, next_sigma = _towards_clean(schedule)
    # Their eq. 16. It is β̃'s square root at eta = 1, and 0 at the last step.
    noise = eta * np.sqrt(posterior(schedule).variance)
    x = np.sqrt(np.maximum(next_sigma**2 - noise**2, 0.0)) / sigma
    return Sampler(schedule.timestep_map, x, next_alpha - alpha * x, noise=noise if eta else None)


def _multistep(schedule: Schedule) -> Sampler:
    """Follows Lu et al. 2022 (DPM-Solver++), algorithm 2: second order from the prediction of the step before.

    The first step has no predecessor and the last goes to σ = 0, where λ is infinite: both are of first order.
    """
    next_alpha, next_sigma = _towards_clean(schedule)
    half_log_snr = schedule.log_snr / 2
    ratio = next_sigma / schedule.sigma
    # α' (1 − exp(−h)), where exp(−h) = (σ'/α') / (σ/α); written so that σ' = 0 needs no infinity.
    x0 = next_alpha - schedule.alpha * ratio
    extrapolation = np.zeros(schedule.steps)
    if schedule.steps > 2:
        lengths = half_log_snr[:-1] - half_log_snr[1:]  # of the step from t + 1 to t
        # From step t the solver goes to t − 1 and came from t + 1; 1 / (2 r) = h / (2 h_previous).
        extrapolation[1:-1] = lengths[:-1] / (2 * lengths[1:])
    return Sampler(schedule.timestep_map, ratio, x0 * (1 + extrapolation), previous_x0=-x0 * extrapolation)


def _towards_clean(schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """Returns (α, σ) of the next less noisy step for each step; (1, 0) for the last."""
    return np.concatenate([[1.0], schedule.alpha[:-1]]), np.concatenate([[0.0], schedule.sigma[:-1]])
