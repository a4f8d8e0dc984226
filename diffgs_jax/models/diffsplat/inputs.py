"""From what is asked for to what the network reads.

    view               latents          rays                    mask
    given image        of the image     of the first view       0
    view 0 … v − 1     noisy            its own                 1

The given image goes in front as a view of its own, at the same time as the others; what is predicted there is thrown
away. The mask is there in models of images only.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.models.bundles import Control, Frozen, Params, Request
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.config import DiffSplatConfig
from diffgs_jax.models.diffsplat.network import apply_image_encoder
from diffgs_jax.models.family import family
from diffgs_jax.models.splat_grid import plucker_maps
from diffgs_jax.models.stored import StoredModel


class Condition(NamedTuple):
    """What the denoiser is told.

    Attributes:
        text: the prompt.
        rays: `[b, v, h, w, 6]` Plücker rays of the views to make; None if the network reads none.
        image: `[b, 1, h, w, c]` latents of the given view, zeros where it is hidden; None if the network reads none.
        controls: what steers it.
    """

    text: TextFeatures
    rays: Float[Array, "b v h w 6"] | None = None
    image: Float[Array, "b 1 h w c"] | None = None
    controls: tuple[Control, ...] = ()


def splat_cameras(request: Request) -> Cameras:
    """Returns the cameras `[b, v]` of the views that splats are made of: the given ones, then those asked for.

    Raises:
        UserError: if there are none.
    """
    if request.cameras is None:
        raise UserError("this model needs the cameras of the views to generate")
    if request.condition is None:
        return Cameras(*map(jnp.asarray, request.cameras))
    pairs = zip(request.condition.cameras, request.cameras, strict=True)
    return Cameras(*(jnp.concatenate([jnp.asarray(a), jnp.asarray(b)], axis=1) for a, b in pairs))


def ray_maps(config: DiffSplatConfig, cameras: Cameras, resolution: int) -> Float[Array, "b v h w 6"] | None:
    """Returns the rays of latent pixels, resized from those of pixels without antialiasing, as published.

    Args:
        config: of the model.
        cameras: `[b, v]`, in the world of the reconstructor.
        resolution: height and width of views, pixels.
    """
    if not config.rays:
        return None
    maps = plucker_maps(cameras, resolution, resolution, config.plucker)
    size = resolution // config.latents.downsampling
    return jax.image.resize(maps, (*maps.shape[:2], size, size, 6), "linear", antialias=False)


def image_latents(config: DiffSplatConfig, params: Params, frozen: Frozen, views: Views) -> Float[Array, "b 1 h w c"]:
    """Returns the latents of the first view of each object.

    Args:
        config: of the model.
        params: holds `image` where they are learned.
        frozen: holds `image_vae` where they are a VAE's.
        views: `[b, n]`.
    """
    images = jnp.asarray(views.images)[:, :1]
    if config.image.encoder == "learned":
        return apply_image_encoder(config, params, images)
    vae: StoredModel = frozen["image_vae"]
    latents = family(vae.config).encode(vae.config, vae.params, 2 * images[:, 0] - 1)[:, None]
    return latents + config.image.offset


def network_input(
    noisy: Float[Array, "b v h w c"],
    rays: Float[Array, "b v h w 6"] | None,
    image: Float[Array, "b 1 h w c"] | None,
) -> Float[Array, "b views h w inputs"]:
    """Returns what the network reads: the given view, if there is one, in front of the noisy ones."""

    def with_rays(latents: Array, of: Array | None) -> list[Array]:
        return [latents] if of is None else [latents, of]

    if image is None:
        return jnp.concatenate(with_rays(noisy, rays), axis=-1)
    mask = jnp.ones((*noisy.shape[:-1], 1), noisy.dtype)
    given = [*with_rays(image, None if rays is None else rays[:, :1]), jnp.zeros((*image.shape[:-1], 1), noisy.dtype)]
    views = jnp.concatenate([*with_rays(noisy, rays), mask], axis=-1)
    return jnp.concatenate([jnp.concatenate(given, axis=-1), views], axis=1)
