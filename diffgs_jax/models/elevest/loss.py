"""What elevest is trained to do: name the interval of a view's elevation, and the place in it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.models.bundles import Batch, Frozen, Metrics, Params
from diffgs_jax.models.elevest.config import ElevEstConfig
from diffgs_jax.models.elevest.network import apply_network, interval_size


def loss(
    config: ElevEstConfig, params: Params, frozen: Frozen, batch: Batch, key: PRNGKeyArray, step: Int32[Array, ""]
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the cross-entropy of the intervals plus the squared error of the offset, and metrics (Lin et al. 2025).

    The offset is held against the place in the *true* interval, whichever is the likeliest. Views outside of all
    intervals do not count.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: nothing is read.
        batch: every view of `inputs` is a picture of its own, in [0, 1] on white, its camera looking at the origin.
        key: not read.
        step: not read.

    Returns:
        The loss; it again, its two parts, and `error`, the mean absolute error of the elevation in degrees.
    """
    images = jnp.asarray(batch.inputs.images)
    images = images.reshape(-1, *images.shape[2:])
    elevations = camera_elevations(batch.inputs.cameras.camera_to_world).reshape(-1)
    found = apply_network(config, params, images)[1]
    size = interval_size(config)
    place = (elevations - config.lowest) / size
    interval = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, config.intervals - 1)
    offset = size * (place - interval)
    counts = ((place >= 0) & (place <= config.intervals)).astype(jnp.float32)
    if config.views_are == "over_sphere":
        counts = counts / jnp.maximum(jnp.cos(jnp.radians(elevations)), 1e-3)
    counts = counts / jnp.maximum(jnp.sum(counts), 1e-6)
    likelihoods = jnp.take_along_axis(jax.nn.log_softmax(found.logits), interval[:, None], axis=-1)[:, 0]
    entropy = -jnp.sum(counts * likelihoods)
    squared = jnp.sum(counts * (jnp.clip(found.offset, 0.0, size) - offset) ** 2)
    value = entropy + config.offset_weight * squared
    error = jnp.sum(counts * jnp.abs(found.elevation - elevations))
    return value, {"loss": value, "class_loss": entropy, "offset_loss": squared, "error": error}


def camera_elevations(camera_to_world: Float[Array | np.ndarray, "*batch 4 4"]) -> Float[Array, "*batch"]:
    """Returns how high cameras stand above the horizontal plane through the origin, degrees; the world's up is z."""
    positions = jnp.asarray(camera_to_world)[..., :3, 3]
    heights = positions[..., 2] / jnp.maximum(jnp.linalg.norm(positions, axis=-1), 1e-9)
    return jnp.degrees(jnp.arcsin(jnp.clip(heights, -1.0, 1.0)))
