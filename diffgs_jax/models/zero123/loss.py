"""What zero123 is trained to do: tell the noise in a view, of a picture from another side (Liu et al. 2023, eq. 1)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray

from diffgs_jax.diffusion import add_noise, make_schedule, sample_timesteps, training_target
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.models.bundles import Batch, Frozen, Metrics, Params
from diffgs_jax.models.family import family
from diffgs_jax.models.stored import StoredModel
from diffgs_jax.models.zero123.config import Zero123Config
from diffgs_jax.models.zero123.network import apply_unet, camera_features, picture_features, project


class Shown(NamedTuple):
    """What each view's network is shown.

    Attributes:
        features: whether the token has the picture's features; without them it still has the camera.
        picture: whether the picture's latents are there.
    """

    features: Bool[Array, "*b"]
    picture: Bool[Array, "*b"]


def shown_conditions(dropout: float, u: Float[Array, "*b"]) -> Shown:
    """Returns what is shown for u in [0, 1]: below p no features, from p to 2p nothing, from 2p to 3p no picture.

    Args:
        dropout: p; published: 0.05.
        u: one for each view.
    """
    return Shown(features=u >= 2 * dropout, picture=(u < dropout) | (u >= 3 * dropout))


def latents_of(
    config: Zero123Config, frozen: Frozen, images: Float[Array | np.ndarray, "b v h w 3"]
) -> Float[Array, "b v hl wl c"]:
    """Returns images in [0, 1] as what is diffused, differentiable: likeliest latents, scaled, or pixels in [−1, 1]."""
    pixels = 2 * jnp.asarray(images) - 1
    if not config.autoencoder:
        return pixels
    stored: StoredModel = frozen["autoencoder"]
    found = family(stored.config).encode(stored.config, stored.params, pixels.reshape(-1, *pixels.shape[2:]))
    return found.reshape(*pixels.shape[:2], *found.shape[1:])


def loss(
    config: Zero123Config, params: Params, frozen: Frozen, batch: Batch, key: PRNGKeyArray, step: Int32[Array, ""]
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean squared error of the prediction, and the same to be logged.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: the autoencoder, if there is one.
        batch: `inputs` are one condition view and others, each of which is noised at a time of its own.
        key: draws timesteps, noise and which conditions are hidden.
        step: not read.
    """
    of_time, of_noise, of_dropout = jax.random.split(key, 3)
    given, others = split_given(batch.inputs)
    latents = latents_of(config, frozen, others.images)
    batched = latents.shape[:2]
    count = batched[0] * batched[1]
    rows = sample_timesteps(of_time, count, config.schedule.steps, config.timestep_sampling)
    x0 = latents.reshape(count, *latents.shape[2:])
    noise = jax.random.normal(of_noise, x0.shape, x0.dtype)
    schedule = make_schedule(config.schedule)
    x_t = add_noise(schedule, x0, rows, noise)
    shown = shown_conditions(config.dropout, jax.random.uniform(of_dropout, batched))
    features = picture_features(config, params, given.images[:, 0])[:, None]
    tokens = project(
        params,
        jnp.where(shown.features[..., None], features, 0.0),
        camera_features(given.cameras, others.cameras, config.radius_scale),
    )
    picture = latents_of(config, frozen, given.images) / config.latent_scale
    picture = jnp.where(shown.picture[..., None, None, None], picture, 0.0)
    told = jnp.asarray(schedule.timesteps)[rows].reshape(batched)
    said = apply_unet(config, params, x_t.reshape(latents.shape), told, tokens, picture)
    target = training_target(schedule, config.prediction, x0, rows, noise)
    value = jnp.mean((said.reshape(target.shape) - target) ** 2)
    return value, {"loss": value}


def split_given(views: Views) -> tuple[Views, Views]:
    """Returns the one condition view `[b, 1]` of each sample, wherever it is, and the others `[b, v - 1]`."""
    order = jnp.argsort(~jnp.asarray(views.is_condition), axis=1, stable=True)

    def part(chosen: slice) -> Views:
        def take(leaf: Any) -> Any:
            rows = order[:, chosen]
            return jnp.take_along_axis(jnp.asarray(leaf), rows.reshape(*rows.shape, *(1,) * (leaf.ndim - 2)), axis=1)

        cameras = Cameras(*map(take, views.cameras))
        return Views(take(views.images), cameras, take(views.is_condition), views.domain)

    return part(slice(0, 1)), part(slice(1, None))
