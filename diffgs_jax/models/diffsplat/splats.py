"""Latents and the splats they stand for, through the frozen reconstructor and VAE."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffgs_jax.errors import UserError
from diffgs_jax.files import one_line
from diffgs_jax.geometry import Cameras, Gaussians, Views
from diffgs_jax.models.bundles import Frozen
from diffgs_jax.models.capabilities import (
    Encodes,
)
from diffgs_jax.models.diffsplat.config import DiffSplatConfig
from diffgs_jax.models.family import (
    family,
)
from diffgs_jax.models.stored import StoredModel


def world_cameras(frozen: Frozen, cameras: Cameras) -> Cameras:
    """Returns cameras `[b, v]` in the world that the reconstructor knows."""
    reconstructor: StoredModel = frozen["reconstructor"]
    return family(reconstructor.config).grid_cameras(reconstructor.config, cameras)


def latents_of(frozen: Frozen, views: Views) -> Float[Array, "b v h w c"]:
    """Returns the latents of the splats that the reconstructor makes of views, `[b, v]`, differentiable by them."""
    model: StoredModel = frozen["reconstructor"]
    grids = family(model.config).grids(model.config, model.params, model.frozen, views)
    vae: StoredModel = frozen["vae"]
    latents = family(vae.config).encode(vae.config, vae.params, grids.reshape(-1, *grids.shape[2:]))
    return latents.reshape(*grids.shape[:2], *latents.shape[1:])


def grids_of(
    frozen: Frozen, latents: Float[Array, "b v h w c"], decoder: Literal["full", "tiny"] = "full"
) -> Float[Array, "b v height width 12"]:
    """Returns the splat grids that latents stand for."""
    vae: StoredModel = frozen["vae"]
    module = family(vae.config)
    decode = module.decode_latents if decoder == "full" else module.decode_quickly
    grids = decode(vae.config, vae.params, latents.reshape(-1, *latents.shape[2:]))
    return grids.reshape(*latents.shape[:2], *grids.shape[1:])


def splats_of(frozen: Frozen, latents: Float[Array, "b v h w c"], cameras: Cameras) -> Gaussians:
    """Returns the Gaussians `[b, n]` that latents stand for, in the frame of the cameras `[b, v]`."""
    model: StoredModel = frozen["reconstructor"]
    return family(model.config).grid_gaussians(model.config, grids_of(frozen, latents), cameras)


def check_latents(
    config: DiffSplatConfig, folder: str, vae: StoredModel, reconstructor: StoredModel | None = None
) -> None:
    """Refuses a VAE whose latents are not those of the settings.

    Args:
        config: of the model.
        folder: where the VAE came from.
        vae: of splat grids, or of images.
        reconstructor: whose grids it encodes; None for images.

    Raises:
        UserError: saying what its latents are.
    """
    module, views, pixels = family(vae.config), 1, 8 * config.latents.downsampling
    if not isinstance(module, Encodes):
        raise UserError(f"{folder} is no model that encodes")
    shape: tuple[int, ...] = (views, pixels, pixels, 3)
    if reconstructor is not None:
        shape = family(reconstructor.config).grid_shape(reconstructor.config, views, pixels)
    try:
        made = jax.eval_shape(
            functools.partial(module.encode, vae.config), vae.params, jax.ShapeDtypeStruct(shape, jnp.float32)
        ).shape
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder} does not encode arrays of {shape[-1]} channels: {one_line(error)}") from None
    size = pixels // config.latents.downsampling
    if made != (views, size, size, config.latents.channels):
        raise UserError(
            f"the latents of {folder} have {made[-1]} channels, one for each {pixels / made[1]:g} pixels along a side; "
            f"model.latents says {config.latents.channels} and {config.latents.downsampling}"
        )
