"""Which timesteps to train at, and how much signal they hold."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, PRNGKeyArray

from diffgs_jax.diffusion.schedules import Schedule

TimestepSampling = Literal[
    "uniform",  # every timestep alike
    "logit_normal",  # the middle more often than the ends, which are hardly ever drawn
    "mode",  # the middle more often than the ends, which are still drawn
]


def sample_timesteps(
    key: PRNGKeyArray,
    batch: int,
    steps: int,
    kind: TimestepSampling = "uniform",
    *,
    shift: float = 1.0,
    mean: float = 0.0,
    std: float = 1.0,
    scale: float = 1.29,
) -> Int32[Array, "{batch}"]:
    """Draws the steps of a schedule to train at, in [0, steps).

    A relative time u in [0, 1], 1 the noisiest, is drawn uniformly, as sigmoid(mean + std · normal) or by `mode_times`,
    then moved towards noise by u' = shift · u / (1 + (shift − 1) · u). All are of Esser et al. 2024 (Stable Diffusion
    3), section 3.1 and eq. 23; they state them for rectified flow, here they act on the index of any schedule. With
    x_0-prediction under a cosine schedule the coarse shape is decided at high noise, which a shift of 2 or 3 visits
    more often. A flow schedule may have a shift of its own, which comes on top; a network is told `timesteps[index]`
    of it.

    Args:
        key: randomness.
        batch: how many.
        steps: of the training schedule.
        kind: the law of u.
        shift: above 1 favours noise, 1 changes nothing; > 0.
        mean: of the logit-normal, before the sigmoid; above 0 favours noise.
        std: of the logit-normal, before the sigmoid.
        scale: of the mode law: 0 is uniform, 1.29 as published.
    """
    match kind:
        case "uniform":
            u = jax.random.uniform(key, (batch,))
        case "logit_normal":
            u = jax.nn.sigmoid(mean + std * jax.random.normal(key, (batch,)))
        case "mode":
            u = mode_times(jax.random.uniform(key, (batch,)), scale)
    u = shift * u / (1.0 + (shift - 1.0) * u)
    # Float32 rounds some u up to 1.
    return jnp.minimum(jnp.floor(u * steps).astype(jnp.int32), steps - 1)


def mode_times(u: Float[Array, "*shape"], scale: float) -> Float[Array, "*shape"]:
    """Returns 1 − u − scale · (cos²(π u / 2) − 1 + u), the mode law of Esser et al. 2024, eq. 20.

    Args:
        u: uniform in [0, 1].
        scale: from −1 to 2 / (π − 2); above 0 favours the middle, below 0 the ends.
    """
    return 1.0 - u - scale * (jnp.cos(jnp.pi * u / 2.0) ** 2 - 1.0 + u)


def snr(schedule: Schedule, t: Int[Array | np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    """Returns the signal-to-noise ratio α_t² / σ_t² at steps of a schedule, in float32.

    Args:
        schedule: of which `t` are steps.
        t: steps.
    """
    return jnp.asarray(schedule.snr.astype(np.float32))[t]
