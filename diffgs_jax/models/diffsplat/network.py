"""The denoiser's network: one of several published ones, and the small ones that are trained with it.

Parameters are a plain nested dict: `denoiser`; `text` where prompts have a learned encoder; `image` where a given view
has one. Flax NNX describes the modules only.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import Control, Params
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.config import (
    DiffSplatConfig,
    MMDiTConfig,
    PixArtConfig,
    input_channels,
    network_settings,
    pooled_width,
)
from diffgs_jax.models.diffsplat.mmdit import MMDiT
from diffgs_jax.models.diffsplat.pixart import PixArtTransformer
from diffgs_jax.models.diffsplat.text import describe_encoder, make_encoder
from diffgs_jax.models.family import family
from diffgs_jax.models.layers.initialization import Initializers, draw_uniform, uniform_bounds
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.layers.latent_unet.controlnet import sum_residuals
from diffgs_jax.models.layers.latent_unet.encoder import AddedCondition
from diffgs_jax.models.layers.latent_unet.network import (
    ControlResiduals,
    apply_latent_unet,
    check_latent_unet,
    init_latent_unet,
    latent_unet_shapes,
)
from diffgs_jax.models.layers.patches import patchify
from diffgs_jax.models.layers.stack import bounds_of, describe


class PatchEncoder(nnx.Module):
    """Two layers from the pixels of a patch to a latent pixel."""

    def __init__(self, inputs: int, outputs: int, *, initializers: Initializers, rngs: nnx.Rngs):
        hidden = max(inputs // 2, 4 * outputs)
        self.hidden = nnx.Linear(inputs, hidden, kernel_init=initializers.linear, rngs=rngs)
        self.output = nnx.Linear(hidden, outputs, kernel_init=initializers.linear, rngs=rngs)

    def __call__(self, patches: Float[Array, "*axes inputs"]) -> Float[Array, "*axes outputs"]:
        """Returns the latent pixels."""
        return self.output(jax.nn.gelu(self.hidden(patches), approximate=True))


def _initializers() -> Initializers:
    # Blocks start as the identity and the output as zero (adaLN-Zero, Peebles & Xie 2023).
    return uniform_bounds()._replace(modulation=jax.nn.initializers.zeros)


def _make_transformer(config: DiffSplatConfig, rngs: nnx.Rngs) -> PixArtTransformer | MMDiT:
    settings, channels = network_settings(config), (input_channels(config), config.latents.channels)
    if isinstance(settings, PixArtConfig):
        return PixArtTransformer(settings, *channels, initializers=_initializers(), rngs=rngs)
    assert isinstance(settings, MMDiTConfig)
    return MMDiT(settings, *channels, initializers=_initializers(), rngs=rngs)


def _make_image_encoder(config: DiffSplatConfig, rngs: nnx.Rngs) -> PatchEncoder:
    pixels = 3 * config.latents.downsampling**2
    return PatchEncoder(pixels, config.latents.channels, initializers=_initializers(), rngs=rngs)


@functools.lru_cache(maxsize=32)
def _described(config: DiffSplatConfig) -> dict[str, tuple[Any, Params]]:
    """Returns each network of a config without its parameters, and their shapes; the UNet has no first."""
    settings, found = network_settings(config), dict[str, tuple[Any, Params]]()
    if isinstance(settings, LatentUNetConfig):
        found["denoiser"] = None, latent_unet_shapes(settings)
    else:
        found["denoiser"] = describe(lambda rngs: _make_transformer(config, rngs))
    if config.text.encoder == "learned":
        found["text"] = describe_encoder(config.text)
    if config.image.encoder == "learned":
        found["image"] = describe(lambda rngs: _make_image_encoder(config, rngs))
    return found


def init_params(config: DiffSplatConfig, key: PRNGKeyArray) -> Params:
    """Draws the parameters of a new model, whose output is zero.

    Raises:
        UserError: if the config contradicts itself.
    """
    check_network(config)
    settings, bounds = network_settings(config), dict[str, Any]()
    if not isinstance(settings, LatentUNetConfig):
        bounds["denoiser"] = bounds_of(lambda rngs: _make_transformer(config, rngs))
    if config.text.encoder == "learned":
        bounds["text"] = bounds_of(lambda rngs: make_encoder(config.text, rngs))
    if config.image.encoder == "learned":
        bounds["image"] = bounds_of(lambda rngs: _make_image_encoder(config, rngs))
    key_unet, key_others = jax.random.split(key)
    params = draw_uniform(bounds, key_others) if bounds else {}
    if isinstance(settings, LatentUNetConfig):
        params["denoiser"] = init_latent_unet(settings, key_unet)
    return params


def param_shapes(config: DiffSplatConfig) -> Params:
    """Returns what `init_params` would, as `jax.ShapeDtypeStruct`s and at no cost."""
    return {name: shapes for name, (_, shapes) in _described(config).items()}


def apply_denoiser(
    config: DiffSplatConfig,
    params: Params,
    x: Float[Array, "b v h w inputs"],
    timesteps: Num[Array, "b"],
    text: TextFeatures,
    controls: tuple[Control, ...] = (),
) -> Float[Array, "b v h w outputs"]:
    """Runs the denoiser and returns what it predicts of each view, as many channels as the latents have.

    Args:
        config: of the model.
        params: of `init_params` or a checkpoint.
        x: latents, rays and mask of each view.
        timesteps: of the noise, of each object.
        text: the prompt of each object.
        controls: what steers it; U-Nets only, and all objects are at the same time.
    """
    settings = network_settings(config)
    if isinstance(settings, LatentUNetConfig):
        added = None
        if settings.size_features:
            assert text.pooled is not None
            height, width = (side * config.latents.downsampling for side in x.shape[2:4])
            sizes = jnp.asarray([height, width, 0, 0, height, width], jnp.float32)  # whole views, nothing cropped
            added = AddedCondition(text.pooled, jnp.broadcast_to(sizes[None], (x.shape[0], 6)))
        control = _control_residuals(controls, x, timesteps, text.tokens, added)
        return apply_latent_unet(settings, params["denoiser"], x, timesteps, text.tokens, added=added, control=control)
    output = nnx.merge(_described(config)["denoiser"][0], params["denoiser"])(x, timesteps, text)
    return output[..., : config.latents.channels]


def _control_residuals(
    controls: tuple[Control, ...],
    x: Float[Array, "b v h w inputs"],
    timesteps: Num[Array, "b"],
    text: Float[Array, "b m context"],
    added: AddedCondition | None,
) -> ControlResiduals | None:
    """Returns what ControlNets add together; None where there is none."""
    if not controls:
        return None
    found = []
    for control in controls:
        first, last = jnp.asarray(control.times)
        # In training every object has its own time, and there is no window
        is_inside = (timesteps[0] <= first) & (timesteps[0] >= last)
        scale = jnp.where(is_inside, jnp.asarray(control.scale), 0.0)
        inputs = (x, timesteps, text, control.picture)
        module = family(control.config)
        found.append(
            module.residuals(control.config, control.params, *inputs, scale=scale, guess=control.guess, added=added)
        )
    return sum_residuals(found)


def apply_image_encoder(
    config: DiffSplatConfig, params: Params, images: Float[Array, "b v height width 3"]
) -> Float[Array, "b v h w channels"]:
    """Returns what the learned encoder makes of images in [0, 1]."""
    size = config.latents.downsampling
    rows, columns = images.shape[2] // size, images.shape[3] // size
    latents = nnx.merge(_described(config)["image"][0], params["image"])(patchify(2 * images - 1, size))
    return latents.reshape(*images.shape[:2], rows, columns, -1)


def empty_text(config: DiffSplatConfig, batch: int) -> TextFeatures:
    """Returns what a network that knows no prompts is told: one token of zeros."""
    tokens = jnp.zeros((batch, 1, network_settings(config).text_width))
    pooled = pooled_width(config)
    return TextFeatures(tokens, None, jnp.zeros((batch, pooled)) if pooled else None)


def check_network(config: DiffSplatConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    settings, text, latents = network_settings(config), config.text, config.latents
    if isinstance(settings, LatentUNetConfig):
        check_latent_unet(settings)
        problems = {}
    else:
        name, width = "pixart" if isinstance(settings, PixArtConfig) else "mmdit", settings.heads * settings.head_width
        problems = {
            f"{name}: heads × head_width = {width} is no multiple of 4": bool(width % 4),
            f"{name}: layers = {settings.layers} is less than 1": settings.layers < 1,
            f"{name}: attention = cudnn needs dtype = bfloat16": settings.attention == "cudnn"
            and settings.dtype != "bfloat16",
        }
    if text.encoder == "learned":
        widths = {settings.text_width, pooled_width(config) or text.width}
        problems |= {
            f"text.width = {text.width} must be the network's text_width = {settings.text_width}, and its pooled_width "
            "where it has one": widths != {text.width},
            f"text.heads = {text.heads} do not divide text.width = {text.width}": bool(text.width % max(text.heads, 1)),
        }
    problems["latents.channels and downsampling must be at least 1"] = min(latents.channels, latents.downsampling) < 1
    for problem, present in problems.items():
        if present:
            raise UserError(f"model.{problem}")
