"""The convolutional autoencoder of latent diffusion (Rombach et al. 2022), as `AutoencoderKL` of diffusers has it.

Images shrink by 2 after each level but the last. Peculiarities of the published one: norms have an epsilon of 1e-6;
the encoder's strided convolutions are padded on the right and at the bottom alone; attention in the middle has one head
over all channels; the decoder has one more residual block a level than the encoder; skips are projected only where the
number of channels changes; some end the encoder and begin the decoder with 1×1 convolutions, others do not.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import Attention
from diffgs_jax.models.layers.initialization import Initializers
from diffgs_jax.models.layers.resnet import convolution

_EPSILON = 1e-6


class CodecSettings(NamedTuple):
    """What all blocks of one autoencoder have in common.

    Attributes:
        groups: of the group norms; divides the channels of every block.
        dtype: of convolutions and matrix products; norms are float32.
        initializers: `linear` of kernels inside, `output` of the last kernel of a residual branch and of the decoder.
    """

    groups: int
    dtype: DTypeLike
    initializers: Initializers


class CodecBlock(nnx.Module):
    """Twice norm, SiLU and convolution, beside a skip."""

    def __init__(self, inputs: int, outputs: int, settings: CodecSettings, *, rngs: nnx.Rngs):
        inits, dtype = settings.initializers, settings.dtype
        self.norm1 = _norm(inputs, settings, rngs)
        self.convolution1 = convolution(inputs, outputs, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        self.norm2 = _norm(outputs, settings, rngs)
        self.convolution2 = convolution(outputs, outputs, dtype=dtype, kernel_init=inits.output, rngs=rngs)
        self.skip = (
            None  # where channels change, the same as a 1×1 convolution
            if inputs == outputs
            else nnx.Linear(inputs, outputs, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        )

    def __call__(self, x: Float[Array, "b h w inputs"]) -> Float[Array, "b h w outputs"]:
        """Returns the image after the block."""
        hidden = self.convolution1(jax.nn.silu(self.norm1(x)))
        hidden = self.convolution2(jax.nn.silu(self.norm2(hidden)))
        return (x if self.skip is None else self.skip(x)) + hidden


class CodecAttention(nnx.Module):
    """Self-attention of one head among all pixels, behind a norm and beside a skip."""

    def __init__(self, width: int, settings: CodecSettings, *, rngs: nnx.Rngs):
        self.norm = _norm(width, settings, rngs)
        self.attention = Attention(
            width,
            1,
            kind="xla",
            dtype=settings.dtype,
            initializers=settings.initializers,
            projection_init=settings.initializers.output,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b h w width"]) -> Float[Array, "b h w width"]:
        """Returns the image after the block."""
        tokens = self.norm(x).reshape(x.shape[0], -1, x.shape[-1])
        return x + self.attention(tokens).reshape(x.shape)


class Halving(nnx.Module):
    """Halves height and width by a strided convolution, with zeros on the right and at the bottom."""

    def __init__(self, width: int, settings: CodecSettings, *, rngs: nnx.Rngs):
        self.convolution = nnx.Conv(
            width,
            width,
            (3, 3),
            strides=2,
            padding=((0, 1), (0, 1)),
            dtype=settings.dtype,
            kernel_init=settings.initializers.linear,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b h w width"]) -> Float[Array, "b h2 w2 width"]:
        """Returns the smaller image."""
        return self.convolution(x)


class Doubling(nnx.Module):
    """Doubles height and width by repeating pixels, then convolves."""

    def __init__(self, width: int, *, bias: bool = True, settings: CodecSettings, rngs: nnx.Rngs):
        self.convolution = nnx.Conv(
            width,
            width,
            (3, 3),
            padding=((1, 1), (1, 1)),
            use_bias=bias,
            dtype=settings.dtype,
            kernel_init=settings.initializers.linear,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b h w width"]) -> Float[Array, "b h2 w2 width"]:
        """Returns the larger image."""
        return self.convolution(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2))


class CodecLevel(nnx.Module):
    """The blocks of one resolution, and what leads to the next one."""

    def __init__(self, blocks: Sequence[nnx.Module], resample: Halving | Doubling | None):
        self.blocks = nnx.Dict({str(number): block for number, block in enumerate(blocks)})
        self.resample = resample

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        """Returns the image at the next resolution."""
        for number in range(len(self.blocks)):
            x = self.blocks[str(number)](x)
        return x if self.resample is None else self.resample(x)


class CodecEncoder(nnx.Module):
    """From images to the means and log-variances of their latents."""

    def __init__(
        self,
        inputs: int,
        latents: int,
        channels: Sequence[int],
        blocks: int,
        *,
        last_projection: bool,
        settings: CodecSettings,
        rngs: nnx.Rngs,
    ):
        """Draws the weights.

        Args:
            inputs: channels of the images.
            latents: channels of the latents.
            channels: of each level, the finest first.
            blocks: residual blocks of a level.
            last_projection: whether a 1×1 convolution ends it.
            settings: of all blocks.
            rngs: randomness.
        """
        inits, last, width = settings.initializers, len(channels) - 1, channels[-1]
        self.input = convolution(inputs, channels[0], dtype=settings.dtype, kernel_init=inits.linear, rngs=rngs)
        levels = {}
        for level, (before, after) in enumerate(itertools.pairwise([channels[0], *channels])):
            widths = [before] + [after] * blocks
            chain = [CodecBlock(a, b, settings, rngs=rngs) for a, b in itertools.pairwise(widths)]
            levels[str(level)] = CodecLevel(chain, Halving(after, settings, rngs=rngs) if level < last else None)
        self.levels = nnx.Dict(levels)
        self.middle = _middle(width, settings, rngs)
        self.norm = _norm(width, settings, rngs)
        self.output = convolution(width, 2 * latents, dtype=settings.dtype, kernel_init=inits.linear, rngs=rngs)
        self.projection = (
            nnx.Linear(2 * latents, 2 * latents, dtype=settings.dtype, kernel_init=inits.linear, rngs=rngs)
            if last_projection
            else None
        )

    def __call__(self, x: Float[Array, "b h w inputs"]) -> Float[Array, "b hl wl moments"]:
        """Returns means, then log-variances, float32."""
        x = self.input(x)
        for level in range(len(self.levels)):
            x = self.levels[str(level)](x)
        x = self.output(jax.nn.silu(self.norm(self.middle(x))))
        return (x if self.projection is None else self.projection(x)).astype(jnp.float32)


class CodecDecoder(nnx.Module):
    """From latents to images."""

    def __init__(
        self,
        latents: int,
        outputs: int,
        channels: Sequence[int],
        blocks: int,
        *,
        first_projection: bool,
        settings: CodecSettings,
        rngs: nnx.Rngs,
    ):
        """Draws the weights.

        Args:
            latents: channels of the latents.
            outputs: channels of the images.
            channels: of each level, the finest first, as the encoder has them.
            blocks: residual blocks of the encoder's levels; here there is one more.
            first_projection: whether a 1×1 convolution begins it.
            settings: of all blocks.
            rngs: randomness.
        """
        inits, width = settings.initializers, channels[-1]
        self.projection = (
            nnx.Linear(latents, latents, dtype=settings.dtype, kernel_init=inits.linear, rngs=rngs)
            if first_projection
            else None
        )
        self.input = convolution(latents, width, dtype=settings.dtype, kernel_init=inits.linear, rngs=rngs)
        self.middle = _middle(width, settings, rngs)
        levels = {}
        for level in reversed(range(len(channels))):
            widths = [width] + [channels[level]] * (blocks + 1)
            chain = [CodecBlock(a, b, settings, rngs=rngs) for a, b in itertools.pairwise(widths)]
            width = channels[level]
            levels[str(level)] = CodecLevel(chain, Doubling(width, settings=settings, rngs=rngs) if level else None)
        self.levels = nnx.Dict(levels)
        self.norm = _norm(width, settings, rngs)
        self.output = convolution(width, outputs, dtype=settings.dtype, kernel_init=inits.output, rngs=rngs)

    def __call__(self, x: Float[Array, "b hl wl latents"]) -> Float[Array, "b h w outputs"]:
        """Returns the images, float32, not clipped."""
        x = self.middle(self.input(self.project(x)))
        for level in reversed(range(len(self.levels))):
            x = self.levels[str(level)](x)
        return self.output(jax.nn.silu(self.norm(x))).astype(jnp.float32)

    def project(self, x: Float[Array, "b hl wl latents"]) -> Float[Array, "b hl wl latents"]:
        """Returns the latents behind the first 1×1 convolution; as they are where there is none."""
        return x if self.projection is None else self.projection(x)


class TinyBlock(nnx.Module):
    """Three convolutions with a ReLU after each but the last, one after the sum with the skip."""

    def __init__(self, width: int, settings: CodecSettings, *, rngs: nnx.Rngs):
        inits = settings.initializers
        first, second, third = (
            convolution(width, width, dtype=settings.dtype, kernel_init=init, rngs=rngs)
            for init in (inits.linear, inits.linear, inits.output)
        )
        self.convolution1, self.convolution2, self.convolution3 = first, second, third

    def __call__(self, x: Float[Array, "b h w width"]) -> Float[Array, "b h w width"]:
        """Returns the image after the block."""
        hidden = jax.nn.relu(self.convolution2(jax.nn.relu(self.convolution1(x))))
        return jax.nn.relu(x + self.convolution3(hidden))


class TinyDecoder(nnx.Module):
    """A decoder of a hundredth of the work (TAESD, `DecoderTiny` of diffusers): no norms, no attention."""

    def __init__(
        self,
        latents: int,
        outputs: int,
        width: int,
        blocks: int,
        doublings: int,
        *,
        settings: CodecSettings,
        rngs: nnx.Rngs,
    ):
        """Draws the weights.

        Args:
            latents: channels of the latents.
            outputs: channels of the images.
            width: channels inside.
            blocks: of a resolution; the last resolution has one.
            doublings: how often height and width are doubled.
            settings: of all blocks.
            rngs: randomness.
        """
        inits = settings.initializers
        self.input = convolution(latents, width, dtype=settings.dtype, kernel_init=inits.linear, rngs=rngs)
        levels = {}
        for level in range(doublings):
            chain = [TinyBlock(width, settings, rngs=rngs) for _ in range(blocks)]
            levels[str(level)] = CodecLevel(chain, Doubling(width, bias=False, settings=settings, rngs=rngs))
        levels[str(doublings)] = CodecLevel([TinyBlock(width, settings, rngs=rngs)], None)
        self.levels = nnx.Dict(levels)
        self.output = convolution(width, outputs, dtype=settings.dtype, kernel_init=inits.output, rngs=rngs)

    def __call__(self, x: Float[Array, "b hl wl latents"]) -> Float[Array, "b h w outputs"]:
        """Returns the images, float32, not clipped; latents far from zero are squeezed to ±3."""
        x = jax.nn.relu(self.input(3 * jnp.tanh(x / 3)))
        for level in range(len(self.levels)):
            x = self.levels[str(level)](x)
        return 2 * self.output(x).astype(jnp.float32) - 1


def _middle(width: int, settings: CodecSettings, rngs: nnx.Rngs) -> CodecLevel:
    blocks = [CodecBlock(width, width, settings, rngs=rngs) for _ in range(2)]
    return CodecLevel([blocks[0], CodecAttention(width, settings, rngs=rngs), blocks[1]], None)


def _norm(width: int, settings: CodecSettings, rngs: nnx.Rngs) -> nnx.GroupNorm:
    return nnx.GroupNorm(width, settings.groups, epsilon=_EPSILON, rngs=rngs)
