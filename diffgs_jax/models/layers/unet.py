"""The U-Net of diffusion models: residual blocks at falling, then at rising resolution, joined by skips.

Ho et al. 2020 (appendix B): every block on the way down leaves its output for one on the way up, which has one block
more a level because the input of a level is left too; attention follows the residual blocks of chosen levels, and
stands between the two blocks in the middle.
"""

import itertools
from collections.abc import Collection, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from diffgs_jax.models.layers.resnet import (
    AttentionBlock,
    BlockSettings,
    Downsample,
    ResNetBlock,
    Upsample,
    convolution,
)


class UNetBlock(nnx.Module):
    """A residual block, and attention behind it where asked for."""

    def __init__(self, inputs: int, outputs: int, attends: bool, settings: BlockSettings, *, rngs: nnx.Rngs):
        self.residual = ResNetBlock(inputs, outputs, settings, rngs=rngs)
        self.attention = AttentionBlock(outputs, settings, rngs=rngs) if attends else None

    def __call__(
        self, x: Float[Array, "b h w inputs"], condition: Float[Array, "b condition"]
    ) -> Float[Array, "b h w outputs"]:
        """Returns the image after the block."""
        x = self.residual(x, condition)
        return x if self.attention is None else self.attention(x)


class UNetLevel(nnx.Module):
    """The blocks of one resolution, and what leads to the next one."""

    def __init__(self, blocks: Sequence[UNetBlock], resample: Downsample | Upsample | None):
        self.blocks = nnx.Dict({str(number): block for number, block in enumerate(blocks)})
        self.resample = resample

    def __iter__(self):
        """Yields the blocks in order."""
        return (self.blocks[str(number)] for number in range(len(self.blocks)))


class UNet(nnx.Module):
    """From images and a condition to arrays of the images' height and width."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        blocks: int,
        attention_levels: Collection[int],
        settings: BlockSettings,
        *,
        rngs: nnx.Rngs,
    ):
        """Draws the weights.

        Args:
            inputs: channels of the images.
            outputs: channels of the result.
            channels: of each level, the finest first; each level has half the height and width of the one before.
            blocks: residual blocks of a level on the way down.
            attention_levels: the levels with attention, 0 the finest; the middle has it always.
            settings: of all blocks.
            rngs: randomness.
        """
        inits, last = settings.initializers, len(channels) - 1
        self.levels = len(channels)
        self.input = convolution(inputs, channels[0], dtype=settings.dtype, kernel_init=inits.linear, rngs=rngs)
        left = [channels[0]]  # channels of what is left for the way up
        down = {}
        for level, (before, width) in enumerate(itertools.pairwise([channels[0], *channels])):
            attends = level in attention_levels
            widths = [before] + [width] * blocks
            chain = [UNetBlock(a, b, attends, settings, rngs=rngs) for a, b in itertools.pairwise(widths)]
            left += [width] * blocks
            resample = None
            if level < last:
                resample = Downsample(width, settings, rngs=rngs)
                left.append(width)
            down[str(level)] = UNetLevel(chain, resample)
        self.down = nnx.Dict(down)
        width = channels[-1]
        chain = [UNetBlock(width, width, attends, settings, rngs=rngs) for attends in (True, False)]
        self.middle = UNetLevel(chain, None)
        up = {}
        for level in reversed(range(len(channels))):
            chain = []
            for _ in range(blocks + 1):
                chain.append(
                    UNetBlock(width + left.pop(), channels[level], level in attention_levels, settings, rngs=rngs)
                )
                width = channels[level]
            up[str(level)] = UNetLevel(chain, Upsample(width, settings, rngs=rngs) if level else None)
        self.up = nnx.Dict(up)
        self.norm = nnx.GroupNorm(width, settings.groups, epsilon=1e-5, rngs=rngs)
        self.output = convolution(width, outputs, dtype=settings.dtype, kernel_init=inits.output, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b h w inputs"], condition: Float[Array, "b condition"]
    ) -> Float[Array, "b h w outputs"]:
        """Returns the result, float32.

        Args:
            x: images; height and width are multiples of 2^(levels − 1).
            condition: vector of each sample, through its SiLU.

        Raises:
            ValueError: if the images cannot be halved as often as there are levels.
        """
        multiple = 2 ** (self.levels - 1)
        if x.shape[1] % multiple or x.shape[2] % multiple:
            raise ValueError(f"{self.levels} levels need sides that {multiple} divides, not {x.shape[1:3]}")
        x = self.input(x)
        left = [x]
        for level in range(self.levels):
            stage = self.down[str(level)]
            for block in stage:
                x = block(x, condition)
                left.append(x)
            if stage.resample is not None:
                x = stage.resample(x)
                left.append(x)
        for block in self.middle:
            x = block(x, condition)
        for level in reversed(range(self.levels)):
            stage = self.up[str(level)]
            for block in stage:
                x = block(jnp.concatenate([x, left.pop()], axis=-1), condition)
            if stage.resample is not None:
                x = stage.resample(x)
        return self.output(jax.nn.silu(self.norm(x))).astype(jnp.float32)
