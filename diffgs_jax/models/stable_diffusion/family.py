"""stable_diffusion as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Num, PRNGKeyArray

from diffgs_jax.diffusion import (
    Denoise,
    Prediction,
    Schedule,
    add_noise,
    make_schedule,
    sample_timesteps,
    to_x0,
    training_target,
)
from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import (
    Batch,
    Cost,
    DataSettings,
    Frozen,
    Generated,
    Metrics,
    Params,
    Purpose,
    Request,
    Requirements,
    Text,
)
from diffgs_jax.models.capabilities import Encodes
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.family import family
from diffgs_jax.models.generation import generate
from diffgs_jax.models.layers.latent_unet.network import (
    apply_latent_unet,
    check_latent_unet,
    init_latent_unet,
    latent_unet_shapes,
)
from diffgs_jax.models.layers.text_encoders import CLIP_LENGTH, encode_clip, load_clip, load_tokenizer, tokenize
from diffgs_jax.models.stable_diffusion.config import StableDiffusionConfig
from diffgs_jax.models.stable_diffusion.published import import_published, recognizes
from diffgs_jax.models.stored import StoredModel, load_stored, stored_config


def check(config: StableDiffusionConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_latent_unet(config.unet)
    multiple = _image_multiple(config)
    if config.unet.size_features:
        raise UserError("model.unet.size_features are of SDXL, whose two text encoders are not here: give 0")
    if data.resolution % multiple:
        raise UserError(f"data.resolution {data.resolution} must be a multiple of {multiple} for this network")
    if data.condition_views or data.novel_views:
        raise UserError(
            f"data.condition_views {data.condition_views} and data.novel_views {data.novel_views} must be 0: this "
            "model learns from data.noisy_views alone"
        )
    if not 0 <= config.dropout < 1:
        raise UserError(f"model.dropout is {config.dropout}; give 0 to less than 1")


def requirements(config: StableDiffusionConfig) -> Requirements:
    """Returns what the family needs of data and requests."""
    return Requirements(
        makes="images",
        image_multiple=_image_multiple(config),
        tokenize=functools.partial(_tokenized, config.text),
        prompt="required",
        domains=("object", "scene"),
        guided=config.dropout > 0,
    )


def init(config: StableDiffusionConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return {"unet": init_latent_unet(config.unet, key)}


def load_frozen(config: StableDiffusionConfig, purpose: Purpose) -> Frozen:
    """Loads the autoencoder and the text encoder.

    Raises:
        UserError: if one is not named or not there.
        DataError: if one is damaged or something else.
    """
    if not config.autoencoder:
        raise UserError("model.autoencoder names no checkpoint, and this model diffuses an autoencoder's latents")
    if not isinstance(family(stored_config(config.autoencoder)), Encodes):
        raise UserError(f"model.autoencoder {config.autoencoder} is no model that encodes images")
    settings, params = load_clip(_text_folder(config.text) / "text_encoder")
    return {"autoencoder": load_stored(config.autoencoder, "sampling"), "text": StoredModel(settings, params, {})}


def loss(
    config: StableDiffusionConfig,
    params: Params,
    frozen: Frozen,
    batch: Batch,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean squared error of the prediction, and the same to be logged; views are images of their own.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: autoencoder and text encoder.
        batch: images in [0, 1] are `inputs.images`, captions `text`.
        key: draws timesteps, noise and which captions are hidden.
        step: not read.
    """
    of_time, of_noise, of_dropout = jax.random.split(key, 3)
    views = batch.inputs.images.shape[1]
    x0 = _encoded(frozen, jnp.asarray(batch.inputs.images).reshape(-1, *batch.inputs.images.shape[2:]))
    assert batch.text is not None  # asked for in `requirements`
    words, nothing = jnp.asarray(batch.text.tokens), _tokenized(config.text, [""]).tokens
    hidden = jax.random.bernoulli(of_dropout, config.dropout, (len(words), 1))
    text = _features(frozen, jnp.where(hidden, jnp.asarray(nothing), words))
    rows = sample_timesteps(of_time, len(x0), config.schedule.steps, config.timestep_sampling)
    noise = jax.random.normal(of_noise, x0.shape, x0.dtype)
    full = make_schedule(config.schedule)
    x_t, told = add_noise(full, x0, rows, noise), jnp.asarray(full.timesteps)[rows]
    said = apply_latent_unet(config.unet, params["unet"], x_t[:, None], told, jnp.repeat(text, views, axis=0))[:, 0]
    value = jnp.mean((said - training_target(full, config.prediction, x0, rows, noise)) ** 2)
    return value, {"loss": value}


def cost(config: StableDiffusionConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the U-Net's own program; frozen models are not in it."""
    params, side, views = {"unet": latent_unet_shapes(config.unet)}, data.resolution // config.downsampling, 1
    x = jax.ShapeDtypeStruct((data.noisy_views, views, side, side, config.unet.inputs), jnp.float32)
    numbers = jax.ShapeDtypeStruct((data.noisy_views,), jnp.int32)
    text = jax.ShapeDtypeStruct((data.noisy_views, CLIP_LENGTH, config.unet.text_width), jnp.float32)

    def run(params: Params, x: Array, timesteps: Array, text: Array) -> Array:
        return apply_latent_unet(config.unet, params["unet"], x, timesteps, text)

    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, x, numbers, text),
        activation_bytes=residual_bytes(run, params, x, numbers, text),
        counts={"images": data.noisy_views, "latent pixels": data.noisy_views * side**2},
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a kernel of the stacked transformer blocks."""
    return "blocks" in path and path[-1] == "kernel"


def in_low_memory(config: StableDiffusionConfig, params: Params) -> tuple[StableDiffusionConfig, Params]:
    """Returns the settings and weights of the same model in bfloat16: half the memory."""
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    return dataclasses.replace(config, unet=dataclasses.replace(config.unet, dtype="bfloat16")), halved


def schedule(config: StableDiffusionConfig) -> Schedule:
    """Returns the noise schedule."""
    return make_schedule(config.schedule)


def state_shape(config: StableDiffusionConfig, request: Request) -> tuple[int, ...]:
    """Returns `(b, h, w, c)`."""
    side = request.resolution // config.downsampling
    return len(request.domain), side, side, config.unet.outputs


def clean_state(config: StableDiffusionConfig, params: Params, frozen: Frozen, batch: Batch) -> Float[Array, "b h w c"]:
    """Returns the likeliest latents of the first view of each sample, differentiable by it."""
    return _encoded(frozen, jnp.asarray(batch.inputs.images)[:, 0])


def condition(
    config: StableDiffusionConfig, params: Params, frozen: Frozen, request: Request
) -> Float[Array, "b n width"]:
    """Returns the text encoder's features of the prompts; of the empty one without a prompt."""
    return _told(config, frozen, request, request.text)


def null_condition(
    config: StableDiffusionConfig, params: Params, frozen: Frozen, request: Request
) -> Float[Array, "b n width"]:
    """Returns those of the negative prompt, or of the empty one."""
    return _told(config, frozen, request, request.negative_text)


def denoiser(
    config: StableDiffusionConfig,
    params: Params,
    frozen: Frozen,
    condition: Float[Array, "b n width"],
    *,
    views_at_once: int = 0,
) -> Denoise:
    """Returns the function that samplers call: `(x_t [b, h, w, c], t [b]) -> Prediction(x0, None)`."""
    full = make_schedule(config.schedule)

    def denoise(x_t: Float[Array, "b h w c"], t: Num[Array, "b"]) -> Prediction:
        said = apply_latent_unet(config.unet, params["unet"], x_t[:, None], t, condition)[:, 0]
        return Prediction(to_x0(full, config.prediction, said, x_t, t))

    return denoise


def decode(
    config: StableDiffusionConfig,
    params: Params,
    frozen: Frozen,
    request: Request,
    x: Float[Array, "b h w c"],
    aux: Any,
) -> Generated:
    """Returns the images that latents stand for."""
    stored: StoredModel = frozen["autoencoder"]
    pixels = family(stored.config).decode_latents(stored.config, stored.params, x)
    return Generated(images=jnp.clip((pixels + 1) / 2, 0.0, 1.0))


def _encoded(frozen: Frozen, images: Float[Array, "b h w 3"]) -> Float[Array, "b hl wl c"]:
    stored: StoredModel = frozen["autoencoder"]
    return family(stored.config).encode(stored.config, stored.params, 2 * images - 1)


def _features(frozen: Frozen, tokens: Int32[Array, "b n"]) -> Float[Array, "b n width"]:
    stored: StoredModel = frozen["text"]
    return encode_clip(stored.config, stored.params, tokens).last


def _told(config: StableDiffusionConfig, frozen: Frozen, request: Request, text: Text | None) -> Array:
    tokens = _tokenized(config.text, [""]).tokens if text is None else text.tokens
    return _features(frozen, jnp.broadcast_to(jnp.asarray(tokens), (len(request.domain), np.shape(tokens)[1])))


def _tokenized(folder: str, captions: Sequence[str]) -> Text:
    found = tokenize(_tokenizer(folder), captions, CLIP_LENGTH)
    return Text(found.ids, found.mask)


@functools.lru_cache(maxsize=4)
def _tokenizer(folder: str) -> Any:
    return load_tokenizer(_text_folder(folder) / "tokenizer")


def _text_folder(folder: str) -> pathlib.Path:
    if not folder:
        raise UserError("model.text names no folder, and this model reads prompts by a published text encoder")
    return pathlib.Path(folder)


def _image_multiple(config: StableDiffusionConfig) -> int:
    return config.downsampling * 2 ** (len(config.unet.channels) - 1)


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
    "load_frozen",
    "loss",
    "null_condition",
    "recognizes",
    "requirements",
    "schedule",
    "state_shape",
]
