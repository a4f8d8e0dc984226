"""ControlNets (Zhang et al. 2023) of latent U-Nets, on the views of objects.

The published ones of DiffSplat are given a picture for the first view; the others have white ones.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from diffgs_jax.models.layers.initialization import draw_uniform
from diffgs_jax.models.layers.latent_unet.config import ControlNetConfig
from diffgs_jax.models.layers.latent_unet.encoder import AddedCondition, UNetEncoder, block_settings
from diffgs_jax.models.layers.latent_unet.network import ControlResiduals
from diffgs_jax.models.layers.resnet import BlockSettings, convolution
from diffgs_jax.models.layers.stack import bounds_of, describe


class PictureEncoder(nnx.Module):
    """Convolutions that bring the control picture to the size and the channels of the first feature map."""

    def __init__(self, config: ControlNetConfig, settings: BlockSettings, *, rngs: nnx.Rngs):
        inits, widths = settings.initializers, config.picture_widths
        make = functools.partial(convolution, dtype=settings.dtype, rngs=rngs)
        self.input = make(config.picture_channels, widths[0], kernel_init=inits.linear)
        blocks = []
        for before, after in itertools.pairwise(widths):
            blocks += [make(before, before, kernel_init=inits.linear)]
            blocks += [make(before, after, stride=2, kernel_init=inits.linear)]
        self.blocks = nnx.Dict({str(number): block for number, block in enumerate(blocks)})
        self.output = make(widths[-1], config.unet.channels[0], kernel_init=inits.output)

    def __call__(self, pictures: Float[Array, "views H W channels"]) -> Float[Array, "views h w c"]:
        """Returns what is added to the first feature map."""
        x = jax.nn.silu(self.input(pictures))
        for number in range(len(self.blocks)):
            x = jax.nn.silu(self.blocks[str(number)](x))
        return self.output(x)


class ControlNet(nnx.Module):
    """The half of a U-Net, the picture's way in, and one projection for each thing it leaves."""

    def __init__(self, config: ControlNetConfig, *, rngs: nnx.Rngs):
        unet, settings = config.unet, block_settings(config.unet)
        dtype, init = settings.dtype, settings.initializers.output
        self.encoder = UNetEncoder(unet, settings, rngs=rngs)
        self.picture = PictureEncoder(config, settings, rngs=rngs)
        last = len(unet.channels) - 1
        widths = [unet.channels[0]]
        for level, width in enumerate(unet.channels):
            widths += [width] * (unet.blocks + (level < last))
        self.down = nnx.Dict(
            {
                str(number): nnx.Linear(width, width, dtype=dtype, kernel_init=init, rngs=rngs)
                for number, width in enumerate(widths)
            }
        )
        self.middle = nnx.Linear(widths[-1], widths[-1], dtype=dtype, kernel_init=init, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "b v h w inputs"],
        timesteps: Num[Array, "b"],
        text: Float[Array, "b m context"],
        pictures: Float[Array, "b v H W channels"],
        added: AddedCondition | None,
    ) -> ControlResiduals:
        """Returns what it adds to the U-Net, unscaled."""
        shift = self.picture(pictures.reshape(-1, *pictures.shape[2:]))
        looked = self.encoder(x, timesteps, text, added, shift)
        down = tuple(self.down[str(number)](one) for number, one in enumerate(looked.left))
        return ControlResiduals(down, self.middle(looked.x))


@functools.lru_cache(maxsize=32)
def _described(config: ControlNetConfig) -> tuple[nnx.GraphDef[ControlNet], dict[str, Any]]:
    return describe(lambda rngs: ControlNet(config, rngs=rngs))


def controlnet_shapes(config: ControlNetConfig) -> dict[str, Any]:
    """Returns the parameters of a ControlNet as `jax.ShapeDtypeStruct`s, at no cost."""
    return jax.tree.map(lambda leaf: leaf, _described(config)[1])


def init_controlnet(config: ControlNetConfig, unet_params: dict[str, Any] | None, key: PRNGKeyArray) -> dict[str, Any]:
    """Returns a new ControlNet, which adds nothing yet: the U-Net's own half, the picture's way in newly drawn.

    Args:
        config: of the ControlNet.
        unet_params: of the U-Net that it is for; None draws the half of one too.
        key: of what is drawn.
    """
    bounds = bounds_of(lambda rngs: ControlNet(config, rngs=rngs))
    if unet_params is None:
        return draw_uniform(bounds, key)
    del bounds["encoder"]
    return {**draw_uniform(bounds, key), "encoder": unet_params["encoder"]}


def control_residuals(
    config: ControlNetConfig,
    params: dict[str, Any],
    x: Float[Array | np.ndarray, "b v h w inputs"],
    timesteps: Num[Array | np.ndarray, "b"],
    text: Float[Array | np.ndarray, "b m context"],
    pictures: Float[Array | np.ndarray, "b v H W channels"],
    *,
    scale: Float[Array | np.ndarray, ""] | float = 1.0,
    guess: bool = False,
    added: AddedCondition | None = None,
) -> ControlResiduals:
    """Runs a ControlNet.

    Args:
        config: of the ControlNet.
        params: of `init_controlnet`, a checkpoint or an importer.
        x: what the U-Net is given.
        timesteps: of each object.
        text: of each object.
        pictures: of each view, in [0, 1] (`control_views`), as much larger than the latents as the network halves them.
        scale: of all it adds; 0 outside of the window of steps (`window_scales`).
        guess: let what is finer count less, from 0.1 to 1 (Zhang et al. 2023, section 3.4: no prompt). The published
            pipelines then give it the conditional half of a batch only; see `unconditional_half`.
        added: what SDXL is told beside.
    """
    inputs = (jnp.asarray(one) for one in (x, timesteps, text, pictures))
    found = nnx.merge(_described(config)[0], params)(*inputs, added)
    count = len(found.down) + 1
    factors = np.logspace(-1, 0, count, dtype=np.float32) if guess else np.ones(count, np.float32)
    down = tuple(one * (scale * factor) for one, factor in zip(found.down, factors[:-1], strict=True))
    return ControlResiduals(down, found.middle * (scale * factors[-1]))


def sum_residuals(residuals: Sequence[ControlResiduals]) -> ControlResiduals:
    """Returns what several ControlNets add together.

    Raises:
        ValueError: if there is none.
    """
    if not residuals:
        raise ValueError("no ControlNet")
    return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *residuals)


def unconditional_half(residuals: ControlResiduals) -> ControlResiduals:
    """Returns the residuals of a batch whose first, unconditional half has none, from those of the second half."""
    return jax.tree.map(lambda one: jnp.concatenate([jnp.zeros_like(one), one]), residuals)


def control_views(
    picture: Float[Array | np.ndarray, "b H W channels"], views: int
) -> Float[Array, "b {views} H W channels"]:
    """Returns pictures of all views: the given one for the first, white for the others."""
    picture = jnp.asarray(picture)
    white = jnp.ones((picture.shape[0], views - 1, *picture.shape[1:]), picture.dtype)
    return jnp.concatenate([picture[:, None], white], axis=1)


def window_scales(scale: float, steps: int, start: float, end: float) -> Float[np.ndarray, "{steps}"]:
    """Returns the scale at each step: none before the fraction `start` of the steps and none after `end`.

    Step i of n is outside if i/n < start or (i + 1)/n > end, as the published pipelines have it.
    """
    step = np.arange(steps)
    inside = (step / steps >= start) & ((step + 1) / steps <= end)
    return (scale * inside).astype(np.float32)
