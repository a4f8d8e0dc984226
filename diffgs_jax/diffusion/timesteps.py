"""Which timesteps to train at."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32, PRNGKeyArray

TimestepSampling = Literal[
    "uniform",  # every timestep alike
    "logit_normal",  # the middle more often than the ends
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
) -> Int32[Array, "{batch}"]:
    """Draws training timesteps in [0, steps).

    A relative time u in [0, 1], 1 the noisiest, is drawn uniformly or as sigmoid(mean + std · normal), then moved
    towards noise by u' = shift · u / (1 + (shift − 1) · u). Both are of Esser et al. 2024 (Stable Diffusion 3), section
    3.1 and eq. 23; they state them for rectified flow, here they act on the index of any schedule. With x_0-prediction
    under a cosine schedule the coarse shape is decided at high noise, which a shift of 2 or 3 visits more often.

    Args:
        key: randomness.
        batch: how many.
        steps: of the training schedule.
        kind: the law of u.
        shift: above 1 favours noise, 1 changes nothing; > 0.
        mean: of the logit-normal, before the sigmoid; above 0 favours noise.
        std: of the logit-normal, before the sigmoid.
    """
    match kind:
        case "uniform":
            u = jax.random.uniform(key, (batch,))
        case "logit_normal":
            u = jax.nn.sigmoid(mean + std * jax.random.normal(key, (batch,)))
    u = shift * u / (1.0 + (shift - 1.0) * u)
    # Float32 rounds some u up to 1.
    return jnp.minimum(jnp.floor(u * steps).astype(jnp.int32), steps - 1)
