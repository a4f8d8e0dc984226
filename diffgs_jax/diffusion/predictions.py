"""Noising, and what a network may predict: the clean array, the noise, or a velocity made of the two.

In these functions `t` has the leading axes of `x` (one timestep per example, or per example and view). Integers are
steps of the schedule that is passed, so a network that is told training timesteps goes with the full schedule. Floats
are timesteps as a network is told: of a flow schedule they *are* the noise level, σ = t / T; between the steps of a
variance-preserving one log SNR is interpolated.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from diffgs_jax.diffusion.schedules import Schedule

PredictionType = Literal[
    "x0",  # the clean array
    "epsilon",  # the noise (Ho et al. 2020)
    "v",  # α ε − σ x_0 (Salimans & Ho 2022, appendix D)
    "flow",  # ε − x_0, the velocity of straight lines (Lipman et al. 2023; Esser et al. 2024)
]


class Prediction(NamedTuple):
    """What a denoiser says about a noisy array.

    Attributes:
        x0: the predicted clean array, of the shape of the noisy one.
        aux: any pytree of arrays that comes with it, such as the Gaussians of which `x0` is a rendering, or None.
    """

    x0: Float[Array, "..."]
    aux: Any = None


def alpha_and_sigma(
    schedule: Schedule, t: Num[Array, "..."], like: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Returns α_t and σ_t, shaped to broadcast against `like` and in its dtype.

    Args:
        schedule: of which `t` are steps (integers) or timesteps (floats).
        t: with the leading axes of `like`.
        like: any array.
    """
    if t.shape != like.shape[: t.ndim]:
        raise ValueError(f"timesteps of shape {t.shape} are not the leading axes of an array of shape {like.shape}")
    shape = t.shape + (1,) * (like.ndim - t.ndim)
    if jnp.issubdtype(t.dtype, jnp.integer):
        alpha, sigma = (jnp.asarray(values, like.dtype)[t] for values in (schedule.alpha, schedule.sigma))
    elif schedule.is_flow:
        sigma = t / schedule.steps
        alpha = 1.0 - sigma
    else:
        log_snr = jnp.interp(t, schedule.timesteps.astype(np.float32), schedule.log_snr.astype(np.float32))
        alpha, sigma = jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
    return alpha.astype(like.dtype).reshape(shape), sigma.astype(like.dtype).reshape(shape)


def add_noise(
    schedule: Schedule, x0: Float[Array, "*shape"], t: Num[Array, "..."], noise: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Draws from q(x_t | x_0): x_t = α_t x_0 + σ_t ε (Ho et al. 2020, eq. 4).

    Args:
        schedule: of which `t` are steps or timesteps.
        x0: the clean array.
        t: with the leading axes of `x0`.
        noise: ε, standard normal.
    """
    alpha, sigma = alpha_and_sigma(schedule, t, x0)
    return alpha * x0 + sigma * noise


def training_target(
    schedule: Schedule,
    kind: PredictionType,
    x0: Float[Array, "*shape"],
    t: Num[Array, "..."],
    noise: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """Returns what a network of the given kind should output at x_t = α_t x_0 + σ_t ε.

    Args:
        schedule: of which `t` are steps or timesteps.
        kind: what the network predicts.
        x0: the clean array.
        t: with the leading axes of `x0`.
        noise: ε.
    """
    match kind:
        case "x0":
            return x0
        case "epsilon":
            return noise
        case "v":
            alpha, sigma = alpha_and_sigma(schedule, t, x0)
            return alpha * noise - sigma * x0
        case "flow":
            return noise - x0


def to_x0(
    schedule: Schedule,
    kind: PredictionType,
    output: Float[Array, "*shape"],
    x_t: Float[Array, "*shape"],
    t: Num[Array, "..."],
) -> Float[Array, "*shape"]:
    """Turns a network's output of any kind into the clean array it implies.

    Where there is no signal, α = 0 at the end of a flow schedule, ε implies none: the result is not finite.

    Args:
        schedule: of which `t` are steps or timesteps.
        kind: what `output` is.
        output: the network's.
        x_t: the noisy array.
        t: with the leading axes of `x_t`.
    """
    alpha, sigma = alpha_and_sigma(schedule, t, x_t)
    match kind:
        case "x0":
            return output
        case "epsilon":
            return (x_t - sigma * output) / alpha
        case "v":
            x0 = alpha * x_t - sigma * output
            return x0 / (alpha**2 + sigma**2) if schedule.is_flow else x0
        case "flow":
            x0 = x_t - sigma * output
            return x0 if schedule.is_flow else x0 / (alpha + sigma)


def to_epsilon(
    schedule: Schedule,
    kind: PredictionType,
    output: Float[Array, "*shape"],
    x_t: Float[Array, "*shape"],
    t: Num[Array, "..."],
) -> Float[Array, "*shape"]:
    """Turns a network's output of any kind into the noise it implies; the arguments are those of `to_x0`."""
    alpha, sigma = alpha_and_sigma(schedule, t, x_t)
    match kind:
        case "x0":
            return (x_t - alpha * output) / sigma
        case "epsilon":
            return output
        case "v":
            noise = sigma * x_t + alpha * output
            return noise / (alpha**2 + sigma**2) if schedule.is_flow else noise
        case "flow":
            noise = x_t + alpha * output
            return noise if schedule.is_flow else noise / (alpha + sigma)


def to_score(
    schedule: Schedule, x0: Float[Array, "*shape"], x_t: Float[Array, "*shape"], t: Num[Array, "..."]
) -> Float[Array, "*shape"]:
    """Returns ∇ log p(x_t), the score that a predicted clean array implies: −ε̂ / σ (Tweedie; Song et al. 2021).

    Args:
        schedule: of which `t` are steps or timesteps.
        x0: E[x_0 | x_t], as a denoiser predicts it.
        x_t: the noisy array.
        t: with the leading axes of `x_t`.
    """
    alpha, sigma = alpha_and_sigma(schedule, t, x_t)
    return (alpha * x0 - x_t) / sigma**2


def from_x0(
    schedule: Schedule,
    kind: PredictionType,
    x0: Float[Array, "*shape"],
    x_t: Float[Array, "*shape"],
    t: Num[Array, "..."],
) -> Float[Array, "*shape"]:
    """Turns a clean array into what a network of the given kind would have to output; the inverse of `to_x0`.

    Args:
        schedule: of which `t` are steps or timesteps.
        kind: what to return.
        x0: the clean array.
        x_t: the noisy array.
        t: with the leading axes of `x_t`.
    """
    alpha, sigma = alpha_and_sigma(schedule, t, x_t)
    match kind:
        case "x0":
            return x0
        case "epsilon":
            return (x_t - alpha * x0) / sigma
        case "v":
            return (alpha * x_t - (x0 * (alpha**2 + sigma**2) if schedule.is_flow else x0)) / sigma
        case "flow":
            return (x_t - (x0 if schedule.is_flow else x0 * (alpha + sigma))) / sigma


def converted(
    schedule: Schedule,
    source: PredictionType,
    target: PredictionType,
    output: Float[Array, "*shape"],
    x_t: Float[Array, "*shape"],
    t: Num[Array, "..."],
) -> Float[Array, "*shape"]:
    """Turns a network's output of one kind into that of another, by way of x_0 and ε, neither computed from the other.

    Args:
        schedule: of which `t` are steps or timesteps.
        source: what `output` is.
        target: what to return.
        output: the network's.
        x_t: the noisy array.
        t: with the leading axes of `x_t`.
    """
    if source == target:
        return output
    x0, noise = (turn(schedule, source, output, x_t, t) for turn in (to_x0, to_epsilon))
    return training_target(schedule, target, x0, t, noise)
