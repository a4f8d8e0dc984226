"""Transformer blocks as language models have them (Llama, Touvron et al. 2023): RMS norms, SwiGLU, no biases.

Without positions: what tells tokens apart must be in them. Queries and keys are normalised over all channels of a
token, before they are cut into heads (DiffSplat, Lin et al. 2025).
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import AttentionKind, attend

_EPSILON = 1e-5
_XAVIER = jax.nn.initializers.xavier_uniform()


def swiglu_width(width: int) -> int:
    """Returns the hidden features of a published block: 8/3 of its width, rounded up to a multiple of 256."""
    return 256 * math.ceil(int(8 * width / 3) / 256)


class GatedMLP(nnx.Module):
    """SwiGLU (Shazeer 2020): w2(silu(w1 x) · w3 x)."""

    def __init__(self, width: int, hidden: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        def linear(inputs: int, outputs: int) -> nnx.Linear:
            return nnx.Linear(inputs, outputs, use_bias=False, dtype=dtype, kernel_init=_XAVIER, rngs=rngs)

        self.w1, self.w2, self.w3 = linear(width, hidden), linear(hidden, width), linear(width, hidden)

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Applies the MLP to each token."""
        return self.w2(jax.nn.silu(self.w1(x)) * self.w3(x))


class NormedAttention(nnx.Module):
    """Self-attention over all tokens of a sample, with layer norms of queries and keys over all their channels."""

    def __init__(self, width: int, heads: int, *, kind: AttentionKind, dtype: DTypeLike, rngs: nnx.Rngs):
        self.kind, self.heads, self.dtype = kind, heads, dtype

        def linear() -> nnx.Linear:
            return nnx.Linear(width, width, use_bias=False, dtype=dtype, kernel_init=_XAVIER, rngs=rngs)

        self.wq, self.wk, self.wv, self.wo = linear(), linear(), linear(), linear()
        self.q_norm, self.k_norm = (
            nnx.LayerNorm(width, epsilon=_EPSILON, use_fast_variance=False, dtype=jnp.float32, rngs=rngs)
            for _ in range(2)
        )

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Attends among the tokens of each sample."""
        batch, tokens, width = x.shape
        normed = self.q_norm(self.wq(x)), self.k_norm(self.wk(x)), self.wv(x)
        query, key, value = (
            one.astype(self.dtype).reshape(batch, tokens, self.heads, width // self.heads) for one in normed
        )
        # cuDNN's cannot be lowered for another device, and a model trained on a GPU must run on any.
        if self.kind == "cudnn" and jax.default_backend() == "gpu":
            attended = jax.nn.dot_product_attention(query, key, value, implementation="cudnn")
        else:
            attended = attend(query, key, value)
        return self.wo(attended.reshape(batch, tokens, width))


class LlamaBlock(nnx.Module):
    """One block: x + attention(norm x), then x + MLP(norm x)."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, attention: AttentionKind, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.dtype = dtype
        self.norm1, self.norm2 = (
            nnx.RMSNorm(width, epsilon=_EPSILON, use_fast_variance=False, dtype=jnp.float32, rngs=rngs)
            for _ in range(2)
        )
        self.attn = NormedAttention(width, heads, kind=attention, dtype=dtype, rngs=rngs)
        self.mlp = GatedMLP(width, hidden, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Returns the tokens after the block, in the type they came in."""
        x = x + self.attn(self.norm1(x).astype(self.dtype)).astype(x.dtype)
        return x + self.mlp(self.norm2(x).astype(self.dtype)).astype(x.dtype)


class LlamaTrunk(nnx.Module):
    """Blocks one after another, their parameters with a leading layer axis."""

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        *,
        attention: AttentionKind,
        dtype: DTypeLike,
        remat: bool,
        unroll: bool,
        rngs: nnx.Rngs,
    ):
        @nnx.split_rngs(splits=layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: nnx.Rngs) -> LlamaBlock:
            return LlamaBlock(width, heads, hidden, attention=attention, dtype=dtype, rngs=rngs)

        self.dtype, self.remat, self.unroll = dtype, remat, unroll
        self.blocks = stack(rngs)

    def __call__(self, tokens: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Returns the tokens after the last block, in the type they came in; between blocks they have the trunk's."""
        graphdef, stacked = nnx.split(self.blocks)

        def step(carry: Array, layer: nnx.State) -> tuple[Array, None]:
            return nnx.merge(graphdef, layer)(carry), None

        body = jax.checkpoint(step) if self.remat else step
        last = jax.lax.scan(body, tokens.astype(self.dtype), stacked, unroll=self.unroll)[0]
        return last.astype(tokens.dtype)
