"""Model families that only tests know: a reconstructor and a VAE for diffsplat, of next to no arithmetic."""

import dataclasses
import sys
import types

import jax.numpy as jnp

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import TrainConfig, to_dict
from diffgs_jax.models import Requirements, register
from diffgs_jax.models.splat_grid import SplatGridConfig, grid_to_gaussians

GRID = SplatGridConfig(smallest_scale=0.02, largest_scale=0.2)
SHRINKS = 4  # pixels along a side for each latent pixel


@dataclasses.dataclass(frozen=True)
class FlatConfig:
    """A reconstructor that puts every pixel where the object's centre is."""

    opacity: float = 0.5
    """Of every pixel, as a number of the grid."""


@dataclasses.dataclass(frozen=True)
class BlockConfig:
    """A VAE whose latents are colours and opacities of blocks of pixels."""

    gain: float = 1.0
    """What latents are multiplied with."""


def init(config, key):
    return {"unused": {"scale": jnp.ones(1)}}


def requirements(config):
    return Requirements(makes="gaussians")


def load_frozen(config, purpose):
    return {}


def grid_shape(config, views, resolution):
    return views, resolution, resolution, 12


def grids(config, params, frozen, views):
    images = 2 * jnp.asarray(views.images) - 1
    ones = jnp.ones((*images.shape[:-1], 1))
    return jnp.concatenate([images, *[0 * ones] * 3, ones, *[0 * ones] * 3, config.opacity * ones, 0 * ones], axis=-1)


def grid_cameras(config, cameras):
    return cameras


def grid_gaussians(config, grids, cameras):
    return grid_to_gaussians(GRID, grids, cameras)


def grid_loss(config, frozen, grids, batch, key, step):
    """Instead of renderings, the colours of the grids themselves."""
    value = jnp.mean((grids[..., :3] * 0.5 + 0.5 - jnp.asarray(batch.inputs.images)) ** 2)
    return value, {"loss": value, "image": value}


def encode(config, params, x):
    count, height, width, _ = x.shape
    blocks = x.reshape(count, height // SHRINKS, SHRINKS, width // SHRINKS, SHRINKS, 12).mean((2, 4))
    return config.gain * jnp.concatenate([blocks[..., :3], blocks[..., 10:11]], axis=-1)


def decode_latents(config, params, latents):
    whole = jnp.repeat(jnp.repeat(latents / config.gain, SHRINKS, axis=1), SHRINKS, axis=2)
    zero, one = jnp.zeros_like(whole[..., :1]), jnp.ones_like(whole[..., :1])
    return jnp.concatenate([whole[..., :3], *[zero] * 3, one, *[zero] * 3, whole[..., 3:], zero], axis=-1)


decode_quickly = decode_latents


def _with(*names):
    """A module that has these functions only."""
    return types.SimpleNamespace(**{name: getattr(sys.modules[__name__], name) for name in names})


_COMMON = ("init", "requirements", "load_frozen")
_GRIDS = ("grid_shape", "grids", "grid_cameras", "grid_gaussians", "grid_loss")
register("stub_reconstructor", FlatConfig, _with(*_COMMON, *_GRIDS))
register("stub_vae", BlockConfig, _with(*_COMMON, "encode", "decode_latents", "decode_quickly"))


def write_frozen(folder):
    """Writes a checkpoint of each and returns their folders."""
    for name, config in (("reconstructor", FlatConfig()), ("vae", BlockConfig())):
        metadata = {"config": to_dict(TrainConfig(model=config)), "counters": {"samples": 0}}
        save_weights(folder / name, 1, init(config, None), metadata)
    return {name: str(folder / name) for name in ("reconstructor", "vae")}
