"""What ddpm is trained to do: predict the noise in an image, in squared error (Ho et al. 2020, algorithm 1)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.diffusion import add_noise, make_schedule, sample_timesteps, training_target
from diffgs_jax.models.bundles import (
    Batch,
    Frozen,
    Metrics,
    Params,
)
from diffgs_jax.models.ddpm.config import DDPMConfig
from diffgs_jax.models.ddpm.network import apply_network
from diffgs_jax.models.layers.classes import class_numbers


def loss(
    config: DDPMConfig, params: Params, frozen: Frozen, batch: Batch, key: PRNGKeyArray, step: Int32[Array, ""]
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean squared error of the prediction, and the same to be logged.

    The v views of a sample are images of their own, each with its timestep, its noise and, under condition dropout, its
    own chance to lose its class.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: nothing is read.
        batch: images in [0, 1] are `inputs.images`, conditions or not; `labels` if there are classes.
        key: draws timesteps, noise and hidden classes.
        step: not read.
    """
    key_time, key_noise, key_hidden = jax.random.split(key, 3)
    samples, views = batch.inputs.images.shape[:2]
    count = samples * views
    x0 = to_state(jnp.asarray(batch.inputs.images)).reshape(count, *batch.inputs.images.shape[2:])
    timesteps = sample_timesteps(
        key_time, count, config.schedule.steps, config.timestep_sampling, shift=config.timestep_shift
    )
    noise = jax.random.normal(key_noise, x0.shape, x0.dtype)
    schedule = make_schedule(config.schedule)
    x_t = add_noise(schedule, x0, timesteps, noise)
    labels = None if batch.labels is None else jnp.repeat(jnp.asarray(batch.labels), views)
    classes = class_numbers(config.classes, labels, count)
    if classes is not None and config.condition_dropout:
        hidden = jax.random.bernoulli(key_hidden, config.condition_dropout, (count,))
        classes = jnp.where(hidden, config.classes, classes)
    target = training_target(schedule, config.prediction, x0, timesteps, noise)
    told = jnp.asarray(schedule.timesteps)[timesteps]
    value = jnp.mean((apply_network(config, params, x_t, told, classes) - target) ** 2)
    return value, {"loss": value}


def to_state(images: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns images in [0, 1] as the clean state in [−1, 1]."""
    return 2 * images - 1
