"""CLIP's text encoder (Radford et al. 2021, section 2.4): OpenAI's ViT-L and OpenCLIP's ViT-H and ViT-bigG."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from diffgs_jax.models.layers.attention import attend
from diffgs_jax.models.layers.clip_vision_config import CLIPVisionConfig
from diffgs_jax.models.layers.initialization import draw_uniform, uniform_bounds
from diffgs_jax.models.layers.stack import bounds_of, describe, make_stack, run_stack
from diffgs_jax.models.layers.text_encoders.config import CLIPTextConfig

_EPSILON = 1e-5


class CLIPText(NamedTuple):
    """What the encoder makes of texts of n tokens.

    Attributes:
        last: the tokens behind the last block and the final norm.
        hidden: the tokens before the first block and behind each, without the final norm: `hidden[-2]` is the
            penultimate one that Stable Diffusion XL and 3 are conditioned on.
        pooled: `last` at each text's end.
        projected: `pooled` in the space that CLIP shares with pictures; None where there is no projection.
    """

    last: Float[Array, "b n width"]
    hidden: Float[Array, "states b n width"]
    pooled: Float[Array, "b width"]
    projected: Float[Array, "b projection"] | None


def clip_norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Returns a layer norm in float32."""
    return nnx.LayerNorm(width, epsilon=_EPSILON, use_fast_variance=False, rngs=rngs)


class CLIPBlock(nnx.Module):
    """Self-attention, causal in texts, and an MLP, each behind a norm and beside a skip."""

    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig, *, causal: bool = True, rngs: nnx.Rngs):
        width = config.width
        linear = functools.partial(
            nnx.Linear, dtype=jnp.dtype(config.dtype), kernel_init=uniform_bounds().linear, rngs=rngs
        )
        self.heads, self.activation, self.causal = config.heads, config.activation, causal
        self.norm1 = clip_norm(width, rngs)
        self.query, self.key, self.value = (linear(width, width) for _ in range(3))
        self.projection = linear(width, width)
        self.norm2 = clip_norm(width, rngs)
        self.hidden = linear(width, config.hidden)
        self.output = linear(config.hidden, width)

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Returns the tokens after the block; where it is causal, none depends on a later one."""
        batch, tokens, width = x.shape
        normed = self.norm1(x)
        query, key, value = (
            layer(normed).reshape(batch, tokens, self.heads, width // self.heads)
            for layer in (self.query, self.key, self.value)
        )
        bias = jnp.triu(jnp.full((tokens, tokens), -jnp.inf), 1)[None, None] if self.causal else None
        attended = attend(query, key, value, bias=bias)
        x = x + self.projection(attended.reshape(batch, tokens, width))
        hidden = self.hidden(self.norm2(x))
        hidden = hidden * jax.nn.sigmoid(1.702 * hidden) if self.activation == "quick_gelu" else exact_gelu(hidden)
        return x + self.output(hidden)


def exact_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns x · Φ(x)."""
    return jax.nn.gelu(x, approximate=False)


class CLIPTextEncoder(nnx.Module):
    """Embeddings of tokens and their places, blocks, a norm, and a projection where there is one."""

    def __init__(self, config: CLIPTextConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype, inits = jnp.dtype(config.dtype), uniform_bounds()
        embed = functools.partial(nnx.Embed, dtype=dtype, embedding_init=inits.embedding, rngs=rngs)
        self.tokens = embed(config.vocabulary, config.width)
        self.positions = embed(config.positions, config.width)
        self.blocks = make_stack(config.layers, lambda rngs: CLIPBlock(config, rngs=rngs), rngs)
        self.norm = clip_norm(config.width, rngs)
        self.projection = (
            nnx.Linear(
                config.width, config.projection, use_bias=False, dtype=dtype, kernel_init=inits.linear, rngs=rngs
            )
            if config.projection
            else None
        )

    def __call__(self, ids: Int[Array, "b n"]) -> CLIPText:
        """Encodes texts."""
        batch, tokens = ids.shape
        x = self.tokens(ids) + self.positions(jnp.arange(tokens))[None]
        x, before = run_stack(self.blocks, x, lambda block, x: block(x))
        last = self.norm(x)
        end = self.config.end_token
        ends = jnp.argmax(ids if end is None else (ids == end).astype(jnp.int32), axis=-1)
        pooled = last[jnp.arange(batch), ends]
        projected = None if self.projection is None else self.projection(pooled)
        return CLIPText(last, jnp.concatenate([before, x[None]]), pooled, projected)


@functools.lru_cache(maxsize=32)
def _described(config: CLIPTextConfig) -> tuple[nnx.GraphDef[CLIPTextEncoder], dict[str, Any]]:
    return describe(lambda rngs: CLIPTextEncoder(config, rngs=rngs))


def clip_shapes(config: CLIPTextConfig) -> dict[str, Any]:
    """Returns the encoder's parameters as `jax.ShapeDtypeStruct`s, at no cost."""
    return jax.tree.map(lambda leaf: leaf, _described(config)[1])


def init_clip(config: CLIPTextConfig, key: PRNGKeyArray) -> dict[str, Any]:
    """Draws the parameters of a new encoder."""
    return draw_uniform(bounds_of(lambda rngs: CLIPTextEncoder(config, rngs=rngs)), key)


def encode_clip(config: CLIPTextConfig, params: dict[str, Any], ids: Int[Array | np.ndarray, "b n"]) -> CLIPText:
    """Encodes texts.

    There is no mask of padding: a text's tokens do not see what is behind them, and published models are conditioned
    on the padding too.

    Args:
        config: of the encoder.
        params: of an importer.
        ids: tokens of each text, at most `config.positions`, its start and its end included.

    Raises:
        ValueError: if a text is longer.
    """
    if ids.shape[1] > config.positions:
        raise ValueError(f"a text of {ids.shape[1]} tokens where there are {config.positions} positions")
    return nnx.merge(_described(config)[0], params)(jnp.asarray(ids))
