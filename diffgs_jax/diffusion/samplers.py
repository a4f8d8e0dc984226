"""Samplers as tables of numbers.

Every sampler here is one linear rule, applied once per step to the noisy array, the denoiser's present and previous
predictions of the clean one, and fresh noise:

    x' = a · x + b · x̂_0 + c · x̂_0(previous step) + d · z

so a sampler is four columns of coefficients, computed once in float64, and one loop (`sampling.py`) runs them all. The
rule speaks of x_t = α_t x_0 + σ_t ε alone, so it serves schedules with β and flow matching alike. Two further columns
hold what published code does beside the rule; they are seldom there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from diffgs_jax.diffusion.levels import Levels, visited_levels
from diffgs_jax.diffusion.options import Quirks, SamplerConfig, SamplerKind, Variance, checked
from diffgs_jax.diffusion.schedules import Schedule
from diffgs_jax.diffusion.spacing import Spacing
from diffgs_jax.errors import UserError

Column = Float[Array | np.ndarray, "steps"]


class Sampler(NamedTuple):
    """The steps of a sampler, noisiest first.

    A column that a sampler has no use for is None, so what a loop has to carry is known without looking at numbers.

    Attributes:
        timesteps: `[steps]` as told to the denoiser: int32 rows of the training schedule, or float32 for flow matching.
        x: `[steps]` factor of the noisy array.
        x0: `[steps]` factor of the prediction made at this step.
        alpha: `[steps]` α of the noise level that a step starts from.
        sigma: `[steps]` σ there.
        previous_x0: `[steps]` factor of the prediction of the step before, 0 at the first; None for one-step rules.
        noise: `[steps]` standard deviation of the noise put back, 0 at the last; None for deterministic samplers.
        clipped: `[steps]` factor of clip(x̂_0, −1, 1) − x̂_0; None without the quirk.
        sigma_excess: `[steps]` r = σ / σ_told − 1, where the network is told less noise than there is. A denoiser made
            of a network that predicts the flow then says x − σ_told · flow, and x̂_0 + r (x̂_0 − x) is x − σ · flow.
            None without the quirk.
        start: factor of the standard normal array that sampling from nothing starts with.
    """

    timesteps: Int32[Array | np.ndarray, "steps"] | Float32[Array | np.ndarray, "steps"]
    x: Column
    x0: Column
    alpha: Column
    sigma: Column
    previous_x0: Column | None = None
    noise: Column | None = None
    clipped: Column | None = None
    sigma_excess: Column | None = None
    start: Float[Array | np.ndarray, ""] | float = 1.0


def make_sampler(
    schedule: Schedule,
    kind: SamplerKind = "ddim",
    steps: int = 30,
    *,
    eta: float = 0.0,
    spacing: Spacing | None = None,
    variance: Variance | None = None,
    quirks: Quirks = Quirks(),  # noqa: B008 (frozen)
) -> Sampler:
    """Computes the coefficients of a sampler; its last step lands on the prediction itself, without noise.

    Args:
        schedule: the one trained with.
        kind: the rule.
        steps: number of denoiser calls, 1 to `schedule.steps`.
        eta: as in `SamplerConfig`, like the following.
        spacing: which timesteps are visited.
        variance: of ddpm.
        quirks: of published code; some make the last step land elsewhere.

    Raises:
        UserError: if a setting is out of range.
    """
    return sampler_from_config(schedule, SamplerConfig(kind, eta, spacing, variance, quirks), steps)


def sampler_from_config(schedule: Schedule, config: SamplerConfig, steps: int) -> Sampler:
    """Computes the coefficients of a sampler from its settings, as `make_sampler` does.

    Raises:
        UserError: if a setting is out of range.
    """
    config = checked(config, schedule.is_flow)
    assert config.spacing is not None  # decided by `checked`
    levels = visited_levels(schedule, steps, config.spacing, config.quirks)
    match config.kind:
        case "ddpm":
            ascending = _ancestral(levels, config.variance == "fixed_large")
        case "ddim":
            ascending = _implicit(levels, config.eta)
        case "edm" | "euler":
            # Euler's method in x / α against σ / α, or in x against s, moves x along the straight line from x̂_0
            # through x: to first order that is DDIM's step, and both are exactly DDIM with eta 0.
            ascending = _implicit(levels, 0.0)
        case "dpm":
            ascending = _multistep(levels)
        case "dpm_sde":
            ascending = _stochastic_multistep(levels)
    if config.quirks.clips_x0:
        ascending = ascending._replace(clipped=levels.next_alpha)
    if config.quirks.truncated_timesteps:
        ascending = _truncated(ascending, schedule.steps)
    start = levels.sigma[-1] if config.quirks.starts_without_signal else 1.0
    return jax.tree.map(np.flip, ascending._replace(start=np.float64(start)))


def starting_later(sampler: Sampler, strength: float) -> Sampler:
    """Returns the last ⌊steps · strength⌋ steps of a sampler, for starts from an array that is not pure noise.

    `noised` makes the start. Nothing went before the first of these steps, so it is of first order.

    Args:
        sampler: from `make_sampler`.
        strength: how much is made anew, in (0, 1]; 1 keeps all steps.

    Raises:
        UserError: if the strength is out of range or leaves no step.
    """
    steps = len(sampler.timesteps)
    if not 0.0 < strength <= 1.0:
        raise UserError(f"strength is {strength}; give a number above 0, up to 1")
    kept = int(steps * strength)
    if kept == 0:
        raise UserError(f"a strength of {strength} leaves none of {steps} steps; raise one of them")
    if kept == steps:
        return sampler
    start = np.asarray(sampler.sigma)[-kept]
    later = jax.tree.map(lambda column: np.asarray(column)[-kept:], sampler._replace(start=sampler.sigma))
    later = later._replace(start=start)
    if later.previous_x0 is None:
        return later
    x0, previous_x0 = np.array(later.x0), np.array(later.previous_x0)
    x0[0] += previous_x0[0]
    previous_x0[0] = 0.0
    return later._replace(x0=x0, previous_x0=previous_x0)


def noised(
    sampler: Sampler, clean: Float[Array, "b *shape"], noise: Float[Array, "b *shape"]
) -> Float[Array, "b *shape"]:
    """Returns a clean array at the noise level that a sampler starts from: α x_0 + σ ε.

    Args:
        sampler: of `starting_later`.
        clean: x_0.
        noise: ε, standard normal; `first_noise` draws it.
    """
    alpha, sigma = (jnp.asarray(column, clean.dtype)[0] for column in (sampler.alpha, sampler.sigma))
    return alpha * clean + sigma * noise


def _table(
    levels: Levels,
    x: np.ndarray,
    x0: np.ndarray,
    previous_x0: np.ndarray | None = None,
    noise: np.ndarray | None = None,
) -> Sampler:
    return Sampler(levels.timesteps, x, x0, levels.alpha, levels.sigma, previous_x0, noise)


def _ancestral(levels: Levels, large: bool) -> Sampler:
    """Draws from p(x_{t'} | x_t), its mean that of q(x_{t'} | x_t, x̂_0) (Ho et al. 2020, section 3.2), unclipped."""
    variance = levels.beta if large else levels.posterior_variance
    return _table(
        levels,
        x=levels.kept * levels.next_variance / levels.variance,
        x0=levels.beta * levels.next_alpha / levels.variance,
        noise=np.sqrt(np.where(levels.next_variance > 0.0, variance, 0.0)),  # the last step is not noised
    )


def _implicit(levels: Levels, eta: float) -> Sampler:
    """Follows Song et al. 2021 (DDIM), eq. 12, with the noise of x_t written as (x_t − α_t x̂_0) / σ_t."""
    # Their eq. 16. It is β̃'s square root at eta = 1, and 0 at the last step.
    noise = eta * np.sqrt(levels.posterior_variance)
    x = np.sqrt(np.maximum(levels.next_sigma**2 - noise**2, 0.0)) / levels.sigma
    return _table(levels, x, levels.next_alpha - levels.alpha * x, noise=noise if eta else None)


def _multistep(levels: Levels) -> Sampler:
    """Follows Lu et al. 2022 (DPM-Solver++), algorithm 2: second order from the prediction of the step before."""
    ratio = levels.next_sigma / levels.sigma
    # α' (1 − exp(−h)), where exp(−h) = (σ'/α') / (σ/α); written so that σ' = 0 needs no infinity.
    x0 = levels.next_alpha - levels.alpha * ratio
    extrapolation = _extrapolation(levels)
    return _table(levels, ratio, x0 * (1 + extrapolation), previous_x0=-x0 * extrapolation)


def _stochastic_multistep(levels: Levels) -> Sampler:
    """Follows Lu et al. 2022, section 6 (SDE-DPM-Solver++ of second order), with h = λ' − λ:

    x' = (σ'/σ) e^{−h} x + α' (1 − e^{−2h}) (x̂_0 + (x̂_0 − x̂_0(previous)) h / (2 h(previous))) + σ' sqrt(1 − e^{−2h}) z.
    """  # noqa: D400, D415 (an equation)
    ratio = levels.next_sigma / levels.sigma
    decay = ratio * levels.alpha / levels.next_alpha  # e^{−h}
    x0 = levels.next_alpha * (1.0 - decay**2)
    extrapolation = _extrapolation(levels)
    return _table(
        levels,
        ratio * decay,
        x0 * (1 + extrapolation),
        previous_x0=-x0 * extrapolation,
        noise=levels.next_sigma * np.sqrt(1.0 - decay**2),
    )


def _extrapolation(levels: Levels) -> np.ndarray:
    """Returns h / (2 h(previous)) for every step.

    It is 0 for the first, which has no predecessor, and for the last, which goes to σ = 0, where λ is infinite: both
    are of first order. After a step from pure noise, where λ is −∞, it is 0 by itself.
    """
    extrapolation = np.zeros(len(levels.timesteps))
    if len(extrapolation) > 2:
        lengths = levels.half_log_snr[:-1] - levels.half_log_snr[1:]  # of the step from t + 1 to t
        extrapolation[1:-1] = lengths[:-1] / (2 * lengths[1:])
    return extrapolation


def _truncated(sampler: Sampler, total: int) -> Sampler:
    """Tells the network whole timesteps, and notes what it was not told."""
    sigma = np.asarray(sampler.sigma)
    told = np.floor(total * sigma)
    if told.min() < 1:
        raise UserError("with that many steps truncated timesteps would tell the network that there is no noise")
    return sampler._replace(timesteps=told.astype(np.float32), sigma_excess=total * sigma / told - 1.0)
