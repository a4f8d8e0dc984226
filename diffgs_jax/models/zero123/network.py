"""What zero123's network reads: noisy views beside the given picture, and a token of that picture and of the camera.

    given picture ► encoder ► features ─┬► linear ► token
    camera: Δpolar, sin Δazimuth, cos Δazimuth, Δradius
    noisy view ⊕ latents of the given picture, channel by channel ► U-Net, told of the time and the token ► prediction

Every view is a sample of its own: none sees another.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras
from diffgs_jax.models.bundles import Params
from diffgs_jax.models.layers.clip_vision import clip_vision_shapes, encode_clip_images, init_clip_vision
from diffgs_jax.models.layers.initialization import draw_uniform, uniform_bounds
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.layers.latent_unet.network import (
    apply_latent_unet,
    check_latent_unet,
    init_latent_unet,
    latent_unet_shapes,
)
from diffgs_jax.models.layers.patches import patchify
from diffgs_jax.models.layers.stack import bounds_of, describe
from diffgs_jax.models.layers.vision_transformer import ExactMLP
from diffgs_jax.models.zero123.config import Zero123Config

CAMERA_FEATURES = 4


class _PatchEncoder(nnx.Module):
    """An MLP of each patch, their mean, another MLP."""

    def __init__(self, patch_size: int, width: int, outputs: int, *, rngs: nnx.Rngs):
        settings: Any = {"dtype": jnp.float32, "initializers": uniform_bounds(), "rngs": rngs}
        self.patch_size = patch_size
        self.patches = ExactMLP(3 * patch_size**2, width, width, **settings)
        self.mean = ExactMLP(width, width, outputs, **settings)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b outputs"]:
        return self.mean(jnp.mean(self.patches(patchify(2 * images - 1, self.patch_size)), axis=1))


@functools.lru_cache(maxsize=32)
def _described(config: Zero123Config) -> tuple[nnx.GraphDef[_PatchEncoder], dict[str, Any]]:
    return describe(functools.partial(_make_encoder, config))


def _make_encoder(config: Zero123Config, rngs: nnx.Rngs) -> _PatchEncoder:
    patches = config.patches
    return _PatchEncoder(patches.patch_size, patches.width, config.unet.text_width, rngs=rngs)


def unet_settings(config: Zero123Config) -> LatentUNetConfig:
    """Returns the settings of the U-Net with the inputs and outputs that follow from the others."""
    return dataclasses.replace(config.unet, inputs=2 * config.channels, outputs=config.channels)


def feature_width(config: Zero123Config) -> int:
    """Returns how many features the encoder makes of a picture."""
    return config.clip.projection if config.encoder == "clip" else config.unet.text_width


def init_params(config: Zero123Config, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new model: its output is zero, and its token the picture's features.

    Published: the projection starts as the identity on the features, with zero bias. What it starts with for the camera
    was PyTorch's default, uniform up to one over the root of the inputs.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config)
    of_unet, of_camera, of_encoder = jax.random.split(key, 3)
    features, width = feature_width(config), config.unet.text_width
    bound = (features + CAMERA_FEATURES) ** -0.5
    camera = jax.random.uniform(of_camera, (CAMERA_FEATURES, width), minval=-bound, maxval=bound)
    encoder = (
        init_clip_vision(config.clip, of_encoder)
        if config.encoder == "clip"
        else draw_uniform(bounds_of(functools.partial(_make_encoder, config)), of_encoder)
    )
    return {
        "unet": init_latent_unet(unet_settings(config), of_unet),
        "projection": {"kernel": jnp.concatenate([jnp.eye(features, width), camera]), "bias": jnp.zeros(width)},
        "image_encoder": encoder,
    }


def param_shapes(config: Zero123Config) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    width = config.unet.text_width
    encoder = clip_vision_shapes(config.clip) if config.encoder == "clip" else _described(config)[1]
    return {
        "unet": latent_unet_shapes(unet_settings(config)),
        "projection": {
            "kernel": jax.ShapeDtypeStruct((feature_width(config) + CAMERA_FEATURES, width), jnp.float32),
            "bias": jax.ShapeDtypeStruct((width,), jnp.float32),
        },
        "image_encoder": encoder,
    }


def picture_features(
    config: Zero123Config, params: Params, images: Float[Array | np.ndarray, "b h w 3"]
) -> Float[Array, "b features"]:
    """Returns the encoder's features of pictures in [0, 1]."""
    if config.encoder == "clip":
        return encode_clip_images(config.clip, params["image_encoder"], images)
    return nnx.merge(_described(config)[0], params["image_encoder"])(jnp.asarray(images))


def camera_features(given: Cameras, asked: Cameras, radius_scale: float) -> Float[Array, "b v 4"]:
    """Returns what the network is told of cameras: Δpolar in radians, sin and cos of Δazimuth, Δradius.

    Polar angles are counted from the vertical; differences are those of the asked for less the given one.

    Args:
        given: `[b, 1]`.
        asked: `[b, v]`, in the same world.
        radius_scale: factor of Δradius.
    """

    def spherical(cameras: Cameras) -> tuple[Array, Array, Array]:
        x, y, z = jnp.moveaxis(jnp.asarray(cameras.camera_to_world)[..., :3, 3], -1, 0)
        return jnp.arctan2(jnp.hypot(x, y), z), jnp.arctan2(y, x), jnp.sqrt(x**2 + y**2 + z**2)

    (polar, azimuth, radius), before = spherical(asked), spherical(given)
    turned = azimuth - before[1]
    features = [polar - before[0], jnp.sin(turned), jnp.cos(turned), radius_scale * (radius - before[2])]
    return jnp.stack(features, axis=-1)


def project(
    params: Params, features: Float[Array, "b v features"], cameras: Float[Array, "b v 4"]
) -> Float[Array, "b v width"]:
    """Returns the tokens that the U-Net looks at, one for each view."""
    projection = params["projection"]
    told = jnp.concatenate([features, cameras], axis=-1)
    precision = jax.lax.Precision.HIGHEST
    return jnp.einsum("bvi,io->bvo", told, projection["kernel"], precision=precision) + projection["bias"][None, None]


def apply_unet(
    config: Zero123Config,
    params: Params,
    noisy: Float[Array, "b v h w c"],
    timesteps: Num[Array, "b v"],
    tokens: Float[Array, "b v width"],
    picture: Float[Array, "b v h w c"],
) -> Float[Array, "b v h w c"]:
    """Runs the U-Net on each view.

    Args:
        config: of the model.
        params: of `init_params` or a checkpoint.
        noisy: the views.
        timesteps: of their noise.
        tokens: of `project`.
        picture: latents of the given picture, zeros where it is hidden.
    """
    batch, views = noisy.shape[:2]
    count = batch * views
    x = jnp.concatenate([noisy, picture], axis=-1)
    said = apply_latent_unet(
        unet_settings(config),
        params["unet"],
        x.reshape(count, 1, *x.shape[2:]),
        timesteps.reshape(count),
        tokens.reshape(count, 1, -1),
    )
    return said.reshape(noisy.shape)


def check_network(config: Zero123Config) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    check_latent_unet(unet_settings(config))
    clip, is_pixels = config.clip, not config.autoencoder and config.downsampling == 1
    problems = {
        "channels and downsampling must be at least 1": min(config.channels, config.downsampling) < 1,
        "channels must be 3 and latent_scale 1 where pixels are diffused": is_pixels
        and (config.channels != 3 or config.latent_scale != 1),
        f"latent_scale {config.latent_scale} must be above 0": not config.latent_scale > 0,
        "clip.resolution must be a multiple of clip.patch_size": config.encoder == "clip"
        and bool(clip.resolution % clip.patch_size),
        f"dropout {config.dropout} is one of three parts: give 0 to 1/3": not 0 <= config.dropout <= 1 / 3,
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model: {problem}")
