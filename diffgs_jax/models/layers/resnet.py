"""Blocks of convolutional diffusion networks on `[b, h, w, c]`: residual blocks, attention among pixels, resampling.

They are those of the U-Net of Ho et al. 2020 (appendix B), with the options of Dhariwal & Nichol 2021 (section 3). A
condition is one vector a sample, already through its SiLU.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import Attention, AttentionKind
from diffgs_jax.models.layers.initialization import Initializers

ConditionInjection = Literal["shift", "scale_shift"]
"""How a residual block takes its condition: added behind the first convolution (Ho et al. 2020), or as scale and shift
of the second norm (adaptive group norm, Dhariwal & Nichol 2021, section 3)."""


class BlockSettings(NamedTuple):
    """What all blocks of one network have in common.

    Attributes:
        condition_width: features of the condition.
        injection: how residual blocks take it.
        groups: of the group norms; divides the channels of every block.
        head_width: channels of an attention head; a block with fewer channels has one head.
        attention: who computes attention.
        dtype: of convolutions and matrix products; norms are float32.
        initializers: `linear` of kernels inside, `modulation` of the condition's projections, `output` of the last
            kernel of a residual branch.
    """

    condition_width: int
    injection: ConditionInjection
    groups: int
    head_width: int
    attention: AttentionKind
    dtype: DTypeLike
    initializers: Initializers


def convolution(
    inputs: int, outputs: int, *, stride: int = 1, dtype: DTypeLike, kernel_init: Initializer, rngs: nnx.Rngs
) -> nnx.Conv:
    """Returns a 3×3 convolution with one row of zeros around the image, as PyTorch's `padding=1` has it."""
    return nnx.Conv(
        inputs,
        outputs,
        (3, 3),
        strides=stride,
        padding=((1, 1), (1, 1)),
        dtype=dtype,
        kernel_init=kernel_init,
        rngs=rngs,
    )


class ResNetBlock(nnx.Module):
    """Twice norm, SiLU and convolution, beside a skip: the identity, or a projection where the channels change."""

    def __init__(self, inputs: int, outputs: int, settings: BlockSettings, *, rngs: nnx.Rngs):
        inits, dtype = settings.initializers, settings.dtype
        signals = 2 * outputs if settings.injection == "scale_shift" else outputs
        self.injection = settings.injection
        self.norm1 = nnx.GroupNorm(inputs, settings.groups, epsilon=1e-5, rngs=rngs)
        self.convolution1 = convolution(inputs, outputs, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        self.condition = nnx.Linear(
            settings.condition_width, signals, dtype=dtype, kernel_init=inits.modulation, rngs=rngs
        )
        self.norm2 = nnx.GroupNorm(outputs, settings.groups, epsilon=1e-5, rngs=rngs)
        self.convolution2 = convolution(outputs, outputs, dtype=dtype, kernel_init=inits.output, rngs=rngs)
        self.skip = (
            None  # where channels change, the same as a 1×1 convolution
            if inputs == outputs
            else nnx.Linear(inputs, outputs, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        )

    def __call__(
        self, x: Float[Array, "b h w inputs"], condition: Float[Array, "b condition"]
    ) -> Float[Array, "b h w outputs"]:
        """Returns the image after the block."""
        hidden = self.convolution1(jax.nn.silu(self.norm1(x)))
        signal = self.condition(condition)[:, None, None]
        if self.injection == "shift":
            hidden = self.norm2(hidden + signal)
        else:
            scale, shift = jnp.split(signal, 2, axis=-1)
            hidden = self.norm2(hidden) * (1 + scale) + shift
        return (x if self.skip is None else self.skip(x)) + self.convolution2(jax.nn.silu(hidden))


class AttentionBlock(nnx.Module):
    """Self-attention among all pixels of an image, behind a norm and beside a skip."""

    def __init__(self, width: int, settings: BlockSettings, *, rngs: nnx.Rngs):
        self.norm = nnx.GroupNorm(width, settings.groups, epsilon=1e-5, rngs=rngs)
        self.attention = Attention(
            width,
            max(width // settings.head_width, 1),
            kind=settings.attention,
            dtype=settings.dtype,
            initializers=settings.initializers,
            projection_init=settings.initializers.output,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b h w width"]) -> Float[Array, "b h w width"]:
        """Returns the image after the block."""
        batch, height, width, channels = x.shape
        tokens = self.norm(x).reshape(batch, height * width, channels)
        return x + self.attention(tokens).reshape(x.shape)


class Downsample(nnx.Module):
    """Halves height and width by a strided convolution."""

    def __init__(self, width: int, settings: BlockSettings, *, rngs: nnx.Rngs):
        self.convolution = convolution(
            width, width, stride=2, dtype=settings.dtype, kernel_init=settings.initializers.linear, rngs=rngs
        )

    def __call__(self, x: Float[Array, "b h w width"]) -> Float[Array, "b h2 w2 width"]:
        """Returns the smaller image."""
        return self.convolution(x)


class Upsample(nnx.Module):
    """Doubles height and width by repeating pixels, then convolves."""

    def __init__(self, width: int, settings: BlockSettings, *, rngs: nnx.Rngs):
        self.convolution = convolution(
            width, width, dtype=settings.dtype, kernel_init=settings.initializers.linear, rngs=rngs
        )

    def __call__(self, x: Float[Array, "b h w width"]) -> Float[Array, "b h2 w2 width"]:
        """Returns the larger image."""
        batch, height, width, channels = x.shape
        repeated = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
        return self.convolution(repeated.reshape(batch, 2 * height, 2 * width, channels))
