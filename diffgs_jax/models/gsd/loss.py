"""What gsd is trained to do: predict the noise in a set of Gaussians, in squared error."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.diffusion import add_noise, make_schedule, sample_timesteps, to_x0, training_target
from diffgs_jax.models.bundles import Batch, Frozen, Metrics, Params
from diffgs_jax.models.gaussian_sets import OPACITY, ChannelStatistics, normalized
from diffgs_jax.models.gsd.config import GSDConfig
from diffgs_jax.models.gsd.network import apply_network
from diffgs_jax.models.layers.classes import class_numbers


def loss(
    config: GSDConfig, params: Params, frozen: Frozen, batch: Batch, key: PRNGKeyArray, step: Int32[Array, ""]
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean squared error of the prediction, and to be logged that of the clean sets, by kind of number.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: nothing is read.
        batch: `gaussians`, and `labels` if there are classes.
        key: draws timesteps, noise and hidden classes.
        step: not read.
    """
    key_time, key_noise, key_hidden = jax.random.split(key, 3)
    x0 = clean_sets(config, batch)
    count = x0.shape[0]
    timesteps = sample_timesteps(
        key_time, count, config.schedule.steps, config.timestep_sampling, shift=config.timestep_shift
    )
    noise = jax.random.normal(key_noise, x0.shape, x0.dtype)
    schedule = make_schedule(config.schedule)
    x_t = add_noise(schedule, x0, timesteps, noise)
    classes = class_numbers(config.classes, batch.labels, count)
    if classes is not None and config.condition_dropout:
        hidden = jax.random.bernoulli(key_hidden, config.condition_dropout, (count,))
        classes = jnp.where(hidden, config.classes, classes)
    told = jnp.asarray(schedule.timesteps)[timesteps]
    output = apply_network(config, params, x_t, told, classes)
    value = jnp.mean((output - training_target(schedule, config.prediction, x0, timesteps, noise)) ** 2)
    squared = jnp.mean((to_x0(schedule, config.prediction, output, x_t, timesteps) - x0) ** 2, axis=(0, 1))
    parts = {
        "clean_means": squared[:3],
        "clean_scales": squared[3:6],
        "clean_rotations": squared[6:OPACITY],
        "clean_opacities": squared[OPACITY],
        "clean_colors": squared[OPACITY + 1 :],
    }
    metrics = {name: jax.lax.stop_gradient(jnp.mean(part)) for name, part in parts.items()}
    return value, metrics | {"loss": value}


def clean_sets(config: GSDConfig, batch: Batch) -> Float[Array, "b n 14"]:
    """Returns the sets of a batch in normalised numbers.

    Raises:
        ValueError: if the batch has none.
    """
    if batch.gaussians is None:
        raise ValueError("this family learns from sets of Gaussians, and the batch has none")
    return normalized(batch.gaussians, statistics_of(config))


def statistics_of(config: GSDConfig) -> ChannelStatistics:
    """Returns the settings' statistics as `gaussian_sets` takes them."""
    return ChannelStatistics(config.statistics.mean, config.statistics.std)
