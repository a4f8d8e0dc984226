"""zero123 as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from diffgs_jax.diffusion import Denoise, Prediction, Schedule, make_schedule, to_x0
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.models.bundles import (
    Batch,
    Cost,
    DataSettings,
    Frozen,
    Generated,
    Params,
    Purpose,
    Request,
    Requirements,
)
from diffgs_jax.models.capabilities import Encodes
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.family import family
from diffgs_jax.models.generation import generate
from diffgs_jax.models.stored import StoredModel, load_stored, stored_config
from diffgs_jax.models.zero123.config import Zero123Config
from diffgs_jax.models.zero123.loss import latents_of, loss, split_given
from diffgs_jax.models.zero123.network import (
    apply_unet,
    camera_features,
    check_network,
    init_params,
    param_shapes,
    picture_features,
    project,
)
from diffgs_jax.models.zero123.published import import_published, recognizes


class Condition(NamedTuple):
    """What the denoiser is told.

    Attributes:
        tokens: of the picture and each view's camera.
        picture: latents of the picture, as they are before they are scaled for diffusion.
    """

    tokens: Float[Array, "b v width"]
    picture: Float[Array, "b 1 h w c"]


def check(config: Zero123Config, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config)
    multiple = _image_multiple(config)
    if data.resolution % multiple:
        raise UserError(f"data.resolution {data.resolution} must be a multiple of {multiple} for this network")
    if data.condition_views != 1 or data.noisy_views < 1 or data.novel_views:
        raise UserError(
            f"data.condition_views {data.condition_views}, data.noisy_views {data.noisy_views} and data.novel_views "
            f"{data.novel_views} must be 1, at least 1 and 0: this model makes other views of one"
        )


def requirements(config: Zero123Config) -> Requirements:
    """Returns what the family needs of data and requests."""
    return Requirements(
        makes="views",
        image_multiple=_image_multiple(config),
        background=1.0,
        condition_views=(1, 1),
        cameras=True,
        views_apart=True,
        guided=config.dropout > 0,
    )


def init(config: Zero123Config, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def load_frozen(config: Zero123Config, purpose: Purpose) -> Frozen:
    """Loads the autoencoder; nothing where pixels are diffused.

    Raises:
        UserError: if it is not there, or is none.
        DataError: if it is damaged.
    """
    if not config.autoencoder:
        if config.downsampling != 1:
            raise UserError("model.autoencoder names no checkpoint, and this model diffuses an autoencoder's latents")
        return {}
    if not isinstance(family(stored_config(config.autoencoder)), Encodes):
        raise UserError(f"model.autoencoder {config.autoencoder} is no model that encodes images")
    return {"autoencoder": load_stored(config.autoencoder, "sampling")}


def cost(config: Zero123Config, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the U-Net's own program; encoders are not in it."""
    params, views = param_shapes(config), data.noisy_views
    side = data.resolution // config.downsampling
    x = jax.ShapeDtypeStruct((1, views, side, side, config.channels), jnp.float32)
    numbers = jax.ShapeDtypeStruct((1, views), jnp.int32)
    tokens = jax.ShapeDtypeStruct((1, views, config.unet.text_width), jnp.float32)

    def run(params: Params, x: Array, timesteps: Array, tokens: Array) -> Array:
        return apply_unet(config, params, x, timesteps, tokens, x)

    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, x, numbers, tokens),
        activation_bytes=residual_bytes(run, params, x, numbers, tokens),
        counts={"views": views, "latent pixels": views * side**2},
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a kernel of the stacked transformer blocks."""
    return path[0] == "unet" and "blocks" in path and path[-1] == "kernel"


def is_trained(config: Zero123Config, path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is trained: CLIP is not."""
    return config.encoder != "clip" or path[0] != "image_encoder"


def in_low_memory(config: Zero123Config, params: Params) -> tuple[Zero123Config, Params]:
    """Returns the settings and weights of the same model with its networks in bfloat16: half the memory."""
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["unet"])
    return dataclasses.replace(config, unet=dataclasses.replace(config.unet, dtype="bfloat16")), {
        **params,
        "unet": halved,
    }


def schedule(config: Zero123Config) -> Schedule:
    """Returns the noise schedule."""
    return make_schedule(config.schedule)


def state_shape(config: Zero123Config, request: Request) -> tuple[int, ...]:
    """Returns `(b, v, h, w, c)`: the views that are asked for."""
    side = request.resolution // config.downsampling
    return len(request.domain), _asked(request).intrinsics.shape[1], side, side, config.channels


def clean_state(config: Zero123Config, params: Params, frozen: Frozen, batch: Batch) -> Float[Array, "b v h w c"]:
    """Returns the latents of the views that are not given."""
    return latents_of(config, frozen, split_given(batch.inputs)[1].images)


def condition(config: Zero123Config, params: Params, frozen: Frozen, request: Request) -> Condition:
    """Returns the tokens of the first given view and of the cameras, and its latents."""
    given, asked = request.condition, _asked(request)
    if given is None:
        raise UserError("this model makes other views of a picture, and none is given")
    images = jnp.asarray(given.images)[:, :1]
    cameras = camera_features(Cameras(*(leaf[:, :1] for leaf in given.cameras)), asked, config.radius_scale)
    features = picture_features(config, params, images[:, 0])[:, None]
    tokens = project(params, jnp.broadcast_to(features, (*cameras.shape[:2], features.shape[-1])), cameras)
    return Condition(tokens, latents_of(config, frozen, images) / config.latent_scale)


def null_condition(config: Zero123Config, params: Params, frozen: Frozen, request: Request) -> Condition:
    """Returns zeros for both, as published for sampling; in training the camera stays in a token without features."""
    batch, views, *state = state_shape(config, request)
    return Condition(jnp.zeros((batch, views, config.unet.text_width)), jnp.zeros((batch, 1, *state)))


def denoiser(
    config: Zero123Config, params: Params, frozen: Frozen, condition: Condition, *, views_at_once: int = 0
) -> Denoise:
    """Returns the function that samplers call: `(x_t [b, v, h, w, c], t [b]) -> Prediction(x0, None)`."""
    full = make_schedule(config.schedule)

    def denoise(x_t: Float[Array, "b v h w c"], t: Num[Array, "b"]) -> Prediction:
        picture = jnp.broadcast_to(condition.picture, x_t.shape)
        times = jnp.broadcast_to(t[:, None], x_t.shape[:2])
        x0 = to_x0(full, config.prediction, apply_unet(config, params, x_t, times, condition.tokens, picture), x_t, t)
        return Prediction(jnp.clip(x0, -1.0, 1.0) if config.clip_x0 else x0)

    return denoise


def decode(
    config: Zero123Config, params: Params, frozen: Frozen, request: Request, x: Float[Array, "b v h w c"], aux: Any
) -> Generated:
    """Returns the given view and those that latents stand for, in [0, 1]."""
    pixels = x
    if config.autoencoder:
        stored: StoredModel = frozen["autoencoder"]
        flat = family(stored.config).decode_latents(stored.config, stored.params, x.reshape(-1, *x.shape[2:]))
        pixels = flat.reshape(*x.shape[:2], *flat.shape[1:])
    images, cameras = jnp.clip((pixels + 1) / 2, 0.0, 1.0), _asked(request)
    given = request.condition
    if given is not None:
        images = jnp.concatenate([jnp.asarray(given.images), images], axis=1)
        pairs = zip(given.cameras, cameras, strict=True)
        cameras = Cameras(*(jnp.concatenate([jnp.asarray(a), jnp.asarray(b)], axis=1) for a, b in pairs))
    shown = images.shape[1] - x.shape[1]
    is_condition = jnp.broadcast_to(jnp.arange(images.shape[1]) < shown, images.shape[:2])
    return Generated(views=Views(images, cameras, is_condition, jnp.asarray(request.domain)))


def _asked(request: Request) -> Cameras:
    if request.cameras is None:
        raise UserError("this model needs the cameras of the views to generate")
    return Cameras(*map(jnp.asarray, request.cameras))


def _image_multiple(config: Zero123Config) -> int:
    halved = config.downsampling * 2 ** (len(config.unet.channels) - 1)
    return math.lcm(halved, config.patches.patch_size) if config.encoder == "learned" else halved


__all__ = [
    "check",
    "clean_state",
    "condition",
    "cost",
    "decode",
    "denoiser",
    "generate",
    "import_published",
    "in_low_memory",
    "init",
    "is_hidden_matrix",
    "is_trained",
    "load_frozen",
    "loss",
    "null_condition",
    "recognizes",
    "requirements",
    "schedule",
    "state_shape",
]
