"""Score distillation on novel views: what a frozen diffusion model of images says of how the Gaussians look there."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.diffusion import distillation_gradient, distillation_timesteps, pull
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views, intrinsics_from_fov
from diffgs_jax.models.bundles import Batch, request_of
from diffgs_jax.models.capabilities import Diffuses
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig, NovelPriorConfig
from diffgs_jax.models.family import family
from diffgs_jax.models.generation import make_denoiser
from diffgs_jax.models.stored import StoredModel, load_stored
from diffgs_jax.rasterizer import render_sharded


def load_prior(config: NovelPriorConfig) -> StoredModel:
    """Loads the model that is the prior of novel views.

    Raises:
        UserError: if none is named, there is none, or it is no diffusion model of images.
        DataError: if it cannot be read.
    """
    if not config.checkpoint:
        raise UserError("model.losses.prior.weight needs model.losses.prior.checkpoint, a trained model of images")
    prior = load_stored(config.checkpoint, "sampling")
    module = family(prior.config)
    needs = module.requirements(prior.config)
    if not isinstance(module, Diffuses) or needs.makes != "images" or needs.cameras:
        raise UserError(f"{config.checkpoint} is no diffusion model of images: it cannot be the prior of novel views")
    return prior


def check_prior(config: NovelPriorConfig) -> None:
    """Refuses cameras and noise that there are none of.

    Raises:
        UserError: naming the first setting.
    """
    if config.views < 1:
        raise UserError(f"model.losses.prior.views is {config.views}; give at least 1")
    if not -90 < config.elevations[0] <= config.elevations[1] < 90:
        raise UserError(f"model.losses.prior.elevations is {config.elevations}; give a least and a most within ±90")
    if not 0 <= config.low <= config.high <= 1:
        raise UserError(f"model.losses.prior.low {config.low} and high {config.high} must rise from 0 to 1")


def novel_cameras(config: NovelPriorConfig, batch: int, key: PRNGKeyArray) -> Cameras:
    """Draws cameras `[batch, views]` that look at the origin, z up: azimuths alike, elevations alike in their sine."""
    key_azimuth, key_height = jax.random.split(key)
    shape = (batch, config.views)
    azimuth = jax.random.uniform(key_azimuth, shape, maxval=2 * np.pi)
    low, high = np.sin(np.radians(config.elevations))
    height = jax.random.uniform(key_height, shape, minval=low, maxval=high)
    level = jnp.sqrt(1 - height**2)
    cosine, sine = jnp.cos(azimuth), jnp.sin(azimuth)
    zero = jnp.zeros_like(height)
    outward = jnp.stack([level * cosine, level * sine, height], axis=-1)
    right = jnp.stack([-sine, cosine, zero], axis=-1)
    down = jnp.stack([height * cosine, height * sine, -level], axis=-1)
    axes = jnp.stack([right, down, -outward, config.distance * outward], axis=-1)
    last = jnp.broadcast_to(jnp.asarray([0.0, 0.0, 0.0, 1.0]), (*shape, 1, 4))
    lens = jnp.broadcast_to(jnp.asarray(intrinsics_from_fov(config.fov), jnp.float32), (*shape, 4))
    return Cameras(jnp.concatenate([axes, last], axis=-2), lens)


def prior_loss(
    config: DiffusionGSConfig,
    prior: StoredModel,
    gaussians: Gaussians,
    resolution: int,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> Float[Array, ""]:
    """Returns a scalar whose gradient by renderings of novel views is that of score distillation.

    Nothing that the prior says is differentiated, and no picture of the data is looked at.

    Args:
        config: of the model; `losses.prior` says how.
        prior: of `load_prior`.
        gaussians: `[b, n]`.
        resolution: of the views, pixels.
        key: draws cameras, noise and its levels.
        step: optimizer steps done; before `losses.prior.step` it is 0.
    """
    settings = config.losses.prior
    key_cameras, key_levels, key_noise = jax.random.split(key, 3)
    batch = gaussians.opacities.shape[0]
    side = settings.resolution or resolution
    cameras = novel_cameras(settings, batch, key_cameras)
    rendering = render_sharded(
        gaussians, cameras, height=side, width=side, background=config.background, backend=config.backend
    )
    count = batch * settings.views
    images = rendering.image.reshape(count, 1, side, side, 3)
    flat = Cameras(*(leaf.reshape(count, 1, *leaf.shape[2:]) for leaf in cameras))
    views = Views(images, flat, np.zeros((count, 1), bool), np.full(count, OBJECT, np.int32))
    shown = Batch(views, None, np.zeros(count, np.int32))
    module = family(prior.config)
    x = module.clean_state(prior.config, prior.params, prior.frozen, shown)
    denoise = make_denoiser(prior.config, prior.params, prior.frozen, request_of(shown))
    schedule = module.schedule(prior.config)
    t = distillation_timesteps(key_levels, count, schedule, low=settings.low, high=settings.high)
    noise = jax.random.normal(key_noise, x.shape, x.dtype)
    found = distillation_gradient(denoise, schedule, x, t, noise)
    return jnp.where(step >= settings.step, pull(x, found.gradient), 0.0)
