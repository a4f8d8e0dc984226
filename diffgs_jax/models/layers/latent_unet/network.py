"""The U-Net of latent diffusion on the views of objects; one view is the plain network of a picture."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from diffgs_jax.errors import UserError
from diffgs_jax.models.layers.initialization import draw_uniform
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.layers.latent_unet.encoder import AddedCondition, Level, UNetEncoder, block_settings
from diffgs_jax.models.layers.resnet import Upsample, convolution
from diffgs_jax.models.layers.stack import bounds_of, describe


class ControlResiduals(NamedTuple):
    """What ControlNets add to what a U-Net leaves for its way up, and behind its middle.

    Attributes:
        down: the finest first; views of objects follow one another.
        middle: behind the middle.
    """

    down: tuple[Float[Array, "views _ _ _"], ...]
    middle: Float[Array, "views h w c"]


class LatentUNet(nnx.Module):
    """From latents of views, a time and a text to arrays of the latents' height and width."""

    def __init__(self, config: LatentUNetConfig, *, rngs: nnx.Rngs):
        settings, channels = block_settings(config), config.channels
        self.config = config
        self.encoder = UNetEncoder(config, settings, rngs=rngs)
        left = [channels[0]]
        for level, width in enumerate(channels):
            left += [width] * config.blocks + ([width] if level < len(channels) - 1 else [])
        width, up = channels[-1], {}
        for number, level in enumerate(reversed(range(len(channels)))):
            widths = []
            for _ in range(config.blocks + 1):
                widths.append((width + left.pop(), channels[level]))
                width = channels[level]
            resample = Upsample(width, settings, rngs=rngs) if level else None
            depth, heads = config.depths[level], config.heads[level]
            up[str(number)] = Level(widths, depth, heads, resample, config, settings, rngs=rngs)
        self.up = nnx.Dict(up)
        self.norm = nnx.GroupNorm(width, settings.groups, epsilon=1e-5, rngs=rngs)
        kernel_init = settings.initializers.output
        self.output = convolution(width, config.outputs, dtype=settings.dtype, kernel_init=kernel_init, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "b v h w inputs"],
        timesteps: Num[Array, "b"],
        text: Float[Array, "b m context"],
        added: AddedCondition | None,
        control: ControlResiduals | None,
    ) -> Float[Array, "b v h w outputs"]:
        """Returns the prediction, float32."""
        shape = x.shape
        x, left, condition = self.encoder(x, timesteps, text, added)
        if control is not None:
            left = [one + more.astype(one.dtype) for one, more in zip(left, control.down, strict=True)]
            x = x + control.middle.astype(x.dtype)
        for number in range(len(self.config.channels)):
            level = self.up[str(number)]
            for block in range(self.config.blocks + 1):
                x = level.block(block, jnp.concatenate([x, left.pop()], axis=-1), condition, text)
            x = x if level.resample is None else level.resample(x)
        x = self.output(jax.nn.silu(self.norm(x))).astype(jnp.float32)
        return x.reshape(*shape[:4], -1)


@functools.lru_cache(maxsize=32)
def _described(config: LatentUNetConfig) -> tuple[nnx.GraphDef[LatentUNet], dict[str, Any]]:
    return describe(lambda rngs: LatentUNet(config, rngs=rngs))


def init_latent_unet(config: LatentUNetConfig, key: PRNGKeyArray) -> dict[str, Any]:
    """Draws the parameters of a new network, whose output is zero.

    Raises:
        UserError: if the settings contradict themselves.
    """
    check_latent_unet(config)
    return draw_uniform(bounds_of(lambda rngs: LatentUNet(config, rngs=rngs)), key)


def latent_unet_shapes(config: LatentUNetConfig) -> dict[str, Any]:
    """Returns the parameters of a network as `jax.ShapeDtypeStruct`s, at no cost."""
    return jax.tree.map(lambda leaf: leaf, _described(config)[1])


def apply_latent_unet(
    config: LatentUNetConfig,
    params: dict[str, Any],
    x: Float[Array | np.ndarray, "b v h w inputs"],
    timesteps: Num[Array | np.ndarray, "b"],
    text: Float[Array | np.ndarray, "b m context"],
    *,
    added: AddedCondition | None = None,
    control: ControlResiduals | None = None,
) -> Float[Array, "b v h w outputs"]:
    """Runs the network.

    Args:
        config: of the network.
        params: of `init_latent_unet`, a checkpoint or an importer.
        x: noisy latents of the views of each object, and what is concatenated to them. Self-attention is joint over
            the views; with one view it is the plain network.
        timesteps: of the noise, one for each object.
        text: tokens of each object's text.
        added: what SDXL is told beside; None for others.
        control: of `control_residuals`.

    Raises:
        ValueError: if the latents cannot be halved as often as there are levels, or `added` is missing.
    """
    x, timesteps, text = jnp.asarray(x), jnp.asarray(timesteps), jnp.asarray(text)
    return nnx.merge(_described(config)[0], params)(x, timesteps, text, added, control)


def widen_input(params: dict[str, Any], inputs: int) -> dict[str, Any]:
    """Returns parameters of a network that reads more channels and does not heed them yet: their weights are zero.

    Args:
        params: of a U-Net or a ControlNet.
        inputs: channels of the new network; those of the old one come first.

    Raises:
        ValueError: if the old one reads more.
    """
    encoder = params["encoder"]
    kernel = jnp.asarray(encoder["input"]["kernel"])
    more = inputs - kernel.shape[2]
    if more < 0:
        raise ValueError(f"a network that reads {kernel.shape[2]} channels cannot become one that reads {inputs}")
    widened = jnp.pad(kernel, ((0, 0), (0, 0), (0, more), (0, 0)))
    return {**params, "encoder": {**encoder, "input": {**encoder["input"], "kernel": widened}}}


def check_latent_unet(config: LatentUNetConfig) -> None:
    """Refuses settings that no network can have.

    Raises:
        UserError: naming the first such setting.
    """
    levels = len(config.channels)
    attending = [level for level in range(levels) if config.depths[level : level + 1] != (0,)]
    ungrouped = [width for width in config.channels if width < 1 or width % config.groups]
    problems = {
        "channels is empty": not levels,
        f"depths = {config.depths} and heads = {config.heads} are not one for each of {levels} levels": not (
            len(config.depths) == len(config.heads) == levels
        ),
        f"groups = {config.groups} does not divide {ungrouped} of channels": bool(ungrouped),
        "blocks or middle_depth is less than 1": min(config.blocks, config.middle_depth) < 1,
        "size_features and pooled_width go together": bool(config.size_features) != bool(config.pooled_width),
        "attention = cudnn needs dtype = bfloat16": config.attention == "cudnn" and config.dtype != "bfloat16",
    }
    for problem, present in problems.items():
        if present:
            raise UserError(f"model.network: {problem}")
    unsplit = [level for level in {*attending, levels - 1} if config.channels[level] % config.heads[level]]
    if unsplit:
        raise UserError(f"model.network: heads = {config.heads} do not divide channels = {config.channels}")
