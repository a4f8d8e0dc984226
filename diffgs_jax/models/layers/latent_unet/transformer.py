"""Transformers among the residual blocks of a latent U-Net: tokens look at one another, then at a text.

All views of an object are one sequence of tokens. So self-attention is joint over views (as in DiffSplat and other
multi-view models), and attention to the text is that of each view alone, because tokens do not see one another there.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import AttentionKind, attend_with
from diffgs_jax.models.layers.resnet import BlockSettings
from diffgs_jax.models.layers.stack import make_stack, run_stack

_WIDEST_HEAD = 128  # features


def _norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(width, epsilon=1e-5, use_fast_variance=False, rngs=rngs)


class ContextAttention(nnx.Module):
    """Attention of tokens to others, of their own width or of another."""

    def __init__(
        self, width: int, context_width: int, heads: int, kind: AttentionKind, settings: BlockSettings, rngs: nnx.Rngs
    ):
        inits, dtype = settings.initializers, settings.dtype
        # cuDNN takes no other heads; those of 160 features in Stable Diffusion 1.5 have few tokens to look at.
        fits = width // heads <= _WIDEST_HEAD and (width // heads) % 8 == 0
        self.heads, self.kind = heads, kind if fits else "xla"
        self.query = nnx.Linear(width, width, use_bias=False, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        self.key = nnx.Linear(context_width, width, use_bias=False, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        self.value = nnx.Linear(context_width, width, use_bias=False, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        self.projection = nnx.Linear(width, width, dtype=dtype, kernel_init=inits.linear, rngs=rngs)

    def __call__(self, x: Float[Array, "b n width"], context: Float[Array, "b m context"]) -> Float[Array, "b n width"]:
        """Returns what the tokens take from the context."""
        query, key, value = (
            layer(tokens).reshape(*tokens.shape[:2], self.heads, -1)
            for layer, tokens in ((self.query, x), (self.key, context), (self.value, context))
        )
        return self.projection(attend_with(self.kind, query, key, value).reshape(x.shape))


class TransformerBlock(nnx.Module):
    """Self-attention, attention to the text and a gated MLP, each behind a norm and beside a skip."""

    def __init__(self, width: int, context_width: int, heads: int, settings: BlockSettings, *, rngs: nnx.Rngs):
        inits, dtype = settings.initializers, settings.dtype
        self.norm1 = _norm(width, rngs)
        self.attention = ContextAttention(width, width, heads, settings.attention, settings, rngs)
        self.norm2 = _norm(width, rngs)
        self.text_attention = ContextAttention(width, context_width, heads, "xla", settings, rngs)
        self.norm3 = _norm(width, rngs)
        self.hidden = nnx.Linear(width, 8 * width, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        self.output = nnx.Linear(4 * width, width, dtype=dtype, kernel_init=inits.linear, rngs=rngs)

    def __call__(self, x: Float[Array, "b n width"], text: Float[Array, "b m context"]) -> Float[Array, "b n width"]:
        """Returns the tokens after the block."""
        normed = self.norm1(x)
        x = x + self.attention(normed, normed)
        x = x + self.text_attention(self.norm2(x), text)
        hidden, gate = jnp.split(self.hidden(self.norm3(x)), 2, axis=-1)
        return x + self.output(hidden * jax.nn.gelu(gate, approximate=False))


class Transformer(nnx.Module):
    """Transformer blocks on the pixels of all views, behind a norm and beside a skip."""

    def __init__(
        self,
        width: int,
        context_width: int,
        depth: int,
        heads: int,
        settings: BlockSettings,
        *,
        remat: bool,
        rngs: nnx.Rngs,
    ):
        inits, dtype = settings.initializers, settings.dtype
        self.remat = remat
        self.norm = nnx.GroupNorm(width, settings.groups, epsilon=1e-6, rngs=rngs)
        self.input = nnx.Linear(width, width, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        self.blocks = make_stack(
            depth, lambda rngs: TransformerBlock(width, context_width, heads, settings, rngs=rngs), rngs
        )
        self.output = nnx.Linear(width, width, dtype=dtype, kernel_init=inits.output, rngs=rngs)

    def __call__(
        self, x: Float[Array, "views h w width"], text: Float[Array, "b m context"]
    ) -> Float[Array, "views h w width"]:
        """Returns the images after the blocks; the views of the b objects follow one another."""
        tokens = self.input(self.norm(x)).reshape(text.shape[0], -1, x.shape[-1])
        tokens, _ = run_stack(self.blocks, tokens, lambda block, tokens: block(tokens, text), remat=self.remat)
        return x + self.output(tokens).reshape(x.shape)
