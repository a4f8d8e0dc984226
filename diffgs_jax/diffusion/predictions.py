"""Noising, and what a network may predict: the clean array, the noise, or the velocity between them.

In these functions `t` has the leading axes of `x` (one timestep per example, or per example and view) and indexes the
schedule that is passed, so a network that is told training timesteps goes with the full schedule.
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffgs_jax.diffusion.schedules import Schedule

PredictionType = Literal[
    "x0",  # the clean array
    "epsilon",  # the noise (Ho et al. 2020)
    "v",  # α ε − σ x_0 (Salimans & Ho 2022, appendix D)
]


class Prediction(NamedTuple):
    """What a denoiser says about a noisy array.

    Attributes:
        x0: the predicted clean array, of the shape of the noisy one.
        aux: any pytree of arrays that comes with it, such as the Gaussians of which `x0` is a rendering, or None.
    """

    x0: Float[Array, "..."]
    aux: Any = None


def add_noise(
    schedule: Schedule, x0: Float[Array, "*shape"], t: Int[Array, "..."], noise: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Draws from q(x_t | x_0): x_t = α_t x_0 + σ_t ε (Ho et al. 2020, eq. 4).

    Args:
        schedule: of which `t` are steps.
        x0: the clean array.
        t: timesteps, with the leading axes of `x0`.
        noise: ε, standard normal.
    """
    return _at(schedule.alpha, t, x0) * x0 + _at(schedule.sigma, t, x0) * noise


def to_x0(
    schedule: Schedule,
    kind: PredictionType,
    output: Float[Array, "*shape"],
    x_t: Float[Array, "*shape"],
    t: Int[Array, "..."],
) -> Float[Array, "*shape"]:
    """Turns a network's output of any kind into the clean array it implies.

    Args:
        schedule: of which `t` are steps.
        kind: what `output` is.
        output: the network's.
        x_t: the noisy array.
        t: timesteps, with the leading axes of `x_t`.
    """
    alpha, sigma = _at(schedule.alpha, t, x_t), _at(schedule.sigma, t, x_t)
    match kind:
        case "x0":
            return output
        case "epsilon":
            return (x_t - sigma * output) / alpha
        case "v":
            return alpha * x_t - sigma * output


def from_x0(
    schedule: Schedule,
    kind: PredictionType,
    x0: Float[Array, "*shape"],
    x_t: Float[Array, "*shape"],
    t: Int[Array, "..."],
) -> Float[Array, "*shape"]:
    """Turns a clean array into what a network of the given kind would have to output; the inverse of `to_x0`.

    Args:
        schedule: of which `t` are steps.
        kind: what to return.
        x0: the clean array.
        x_t: the noisy array.
        t: timesteps, with the leading axes of `x_t`.
    """
    alpha, sigma = _at(schedule.alpha, t, x_t), _at(schedule.sigma, t, x_t)
    match kind:
        case "x0":
            return x0
        case "epsilon":
            return (x_t - alpha * x0) / sigma
        case "v":
            return (alpha * x_t - x0) / sigma


def _at(values: np.ndarray, t: Array, like: Array) -> Array:
    """Looks up one value per timestep and shapes it to broadcast against `like`, in its dtype."""
    if t.shape != like.shape[: t.ndim]:
        raise ValueError(f"timesteps of shape {t.shape} are not the leading axes of an array of shape {like.shape}")
    return jnp.asarray(values, like.dtype)[t].reshape(t.shape + (1,) * (like.ndim - t.ndim))
