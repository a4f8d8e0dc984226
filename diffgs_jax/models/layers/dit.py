"""Transformer blocks modulated by a condition vector (DiT with adaLN, Peebles and Xie 2023, section 3.2).

Peculiarities, all of them the published DiffusionGS's: the norms inside a block have no parameters and an epsilon of
1e-6, those at the trunk's ends a scale but no bias and 1e-5; queries and keys are not normalised; the GELU is the
tanh approximation; tokens of all views attend to all others and only the rays tell them apart.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import Attention, AttentionKind
from diffgs_jax.models.layers.initialization import Initializers

Modulation = Literal["shared", "block"]


def layer_norm(x: Float[Array, "b n width"], epsilon: float = 1e-6) -> Float[Array, "b n width"]:
    """Normalises each token to mean 0 and variance 1, in float32."""
    x = x.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + epsilon)


def modulate(
    x: Float[Array, "b n width"], shift: Float[Array, "b width"], scale: Float[Array, "b width"]
) -> Float[Array, "b n width"]:
    """Returns x · (1 + scale) + shift, one shift and one scale for each sample."""
    return x * (1 + scale[:, None]) + shift[:, None]


class ScaleNorm(nnx.Module):
    """Layer norm in float32 with a learned scale and no bias."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.scale = nnx.Param(jnp.ones((width,)))

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Normalises and scales."""
        return layer_norm(x, epsilon=1e-5) * self.scale[...][None, None]


class MLP(nnx.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, hidden: int, *, dtype: DTypeLike, initializers: Initializers, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(width, hidden, dtype=dtype, kernel_init=initializers.linear, rngs=rngs)
        self.output = nnx.Linear(hidden, width, dtype=dtype, kernel_init=initializers.linear, rngs=rngs)

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Applies the MLP to each token."""
        return self.output(jax.nn.gelu(self.hidden(x), approximate=True))


class ModulationOffset(nnx.Module):
    """A block's own part of a shared modulation (PixArt-α, Chen et al. 2024, section 2.3)."""

    def __init__(self, features: int):
        self.offset = nnx.Param(jnp.zeros((features,)))

    def __call__(self, condition: Float[Array, "b features"]) -> Float[Array, "b features"]:
        """Adds the block's offset to what all blocks share."""
        return condition + self.offset[...][None]


class Block(nnx.Module):
    """One DiT block: attention and MLP, each shifted, scaled and gated by the condition.

    With `modulation="block"` the block projects the condition (a vector of `width` features, already through its
    SiLU) itself; with `"shared"` the condition is that projection, of 6 · width features, and the block adds its own
    learned offset.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: int,
        *,
        modulation: Modulation,
        attention: AttentionKind,
        dtype: DTypeLike,
        initializers: Initializers,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        self.attention = Attention(width, heads, kind=attention, dtype=dtype, initializers=initializers, rngs=rngs)
        self.mlp = MLP(width, mlp_ratio * width, dtype=dtype, initializers=initializers, rngs=rngs)
        if modulation == "block":
            self.modulation = nnx.Linear(width, 6 * width, kernel_init=initializers.modulation, rngs=rngs)
        else:
            self.modulation = ModulationOffset(6 * width)

    def __call__(self, x: Float[Array, "b n width"], condition: Float[Array, "b c"]) -> Float[Array, "b n width"]:
        """Returns the tokens after the block, in the type they came in."""
        signals = self.modulation(condition)
        shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp = jnp.split(signals, 6, -1)
        update = self.attention(modulate(layer_norm(x), shift_attention, scale_attention).astype(self.dtype))
        x = x + (gate_attention[:, None] * update).astype(x.dtype)
        update = self.mlp(modulate(layer_norm(x), shift_mlp, scale_mlp).astype(self.dtype))
        return x + (gate_mlp[:, None] * update).astype(x.dtype)
