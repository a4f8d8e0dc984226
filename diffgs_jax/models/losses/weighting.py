"""How much each term and each sample counts in the loss, at a step and at a timestep."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from diffgs_jax.diffusion import ScheduleConfig, make_schedule
from diffgs_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Ramp:
    """A factor that goes from `start` to `end` in a straight line over some steps and is constant before and after."""

    start: float = 1.0
    """The factor up to `from_step`."""
    end: float = 1.0
    """The factor from `to_step` on."""
    from_step: int = 0
    """Optimizer steps done when it begins to move."""
    to_step: int = 0
    """Optimizer steps done when it arrives; if not after `from_step`, it jumps there."""


class TermWeights(NamedTuple):
    """The weight of each term of `rendering_losses` at one step: plain numbers where no schedule moves them."""

    denoise: float | Float[Array, ""]
    novel: float | Float[Array, ""]
    perceptual: float | Float[Array, ""]
    ssim: float | Float[Array, ""]
    alpha: float | Float[Array, ""]
    depth: float | Float[Array, ""]


def ramp_factor(ramp: Ramp, step: int | Integer[Array, ""]) -> float | Float[Array, ""]:
    """Returns the factor after `step` optimizer steps; a plain number if it never changes."""
    if ramp.start == ramp.end:
        return ramp.start
    done = (jnp.asarray(step, jnp.float32) - ramp.from_step) / max(ramp.to_step - ramp.from_step, 1)
    moving = ramp.start + (ramp.end - ramp.start) * jnp.clip(done, 0.0, 1.0)
    # Not by the line's own arithmetic: the end is reached exactly, and a ramp without length jumps.
    return jnp.where(jnp.asarray(step) >= ramp.to_step, ramp.end, moving)


def min_snr_weights(config: ScheduleConfig, gamma: float, timesteps: Int[Array | np.ndarray, "b"]) -> Float[Array, "b"]:
    """Returns min(SNR_t, γ), SNR = ᾱ / (1 − ᾱ) (Hang et al. 2023, arXiv 2303.09556, section 3.4, for x0-prediction).

    Weighed by SNR alone, the squared error of x0 would be that of the noise, ruled by timesteps that have next to none;
    γ stops the weight there.

    Args:
        config: the noise schedule.
        gamma: the largest weight, above 0.
        timesteps: of the samples, in [0, steps).

    Raises:
        UserError: if gamma is not above 0.
    """
    if not gamma > 0:
        raise UserError(f"min_snr_gamma must be above 0, or 0 for no weighting, not {gamma}")
    table = np.minimum(np.exp(make_schedule(config).log_snr), gamma).astype(np.float32)
    return jnp.asarray(table)[jnp.asarray(timesteps)]


def signal_weights(config: ScheduleConfig, power: float, timesteps: Int[Array | np.ndarray, "b"]) -> Float[Array, "b"]:
    """Returns ᾱ_t to some power: near 1 where the views are almost clean, near 0 where they are almost noise.

    Args:
        config: the noise schedule.
        power: above 0.
        timesteps: of the samples, in [0, steps).

    Raises:
        UserError: if the power is not above 0.
    """
    if not power > 0:
        raise UserError(f"perceptual_signal_power must be above 0, or 0 for no weighting, not {power}")
    table = (make_schedule(config).alpha ** (2 * power)).astype(np.float32)
    return jnp.asarray(table)[jnp.asarray(timesteps)]
