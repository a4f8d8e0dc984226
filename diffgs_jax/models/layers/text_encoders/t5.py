"""The encoder of T5 1.1 (Raffel et al. 2020), as a whole or block by block.

Peculiarities: norms have a scale and no mean; scores are not divided by √d; where a token is comes in by a learned bias
of each head for the distance between two tokens, in the first block's parameters and shared by all; the MLP is a gated
GELU (tanh approximation; Shazeer 2020); no layer has a bias.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from diffgs_jax.models.layers.attention import attend
from diffgs_jax.models.layers.initialization import uniform_bounds
from diffgs_jax.models.layers.stack import describe, make_stack, run_stack
from diffgs_jax.models.layers.text_encoders.config import T5Config

_EPSILON = 1e-6
_HIDDEN = -1e30  # instead of −∞: a text without any token would have no number at all


def distance_buckets(distance: Int[np.ndarray, "*shape"], buckets: int, max_distance: int) -> Int[np.ndarray, "*shape"]:
    """Returns the bucket of each distance from a token to one it looks at, positive where that comes later.

    Half of the buckets are for each direction; half of those are for one distance each, the others grow
    logarithmically up to `max_distance` (Raffel et al. 2020, section 2.1).
    """
    half = buckets // 2
    exact = half // 2
    steps = np.abs(distance)
    growth = np.log(np.maximum(steps, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(max_distance / exact)
    )
    coarse = np.minimum(exact + (growth * np.float32(half - exact)).astype(np.int64), half - 1)
    return np.where(distance > 0, half, 0) + np.where(steps < exact, steps, coarse)


class T5Block(nnx.Module):
    """Self-attention and a gated MLP, each behind a norm and beside a skip."""

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        width, inner, dtype = config.width, config.heads * config.head_width, jnp.dtype(config.dtype)
        kernel_init = uniform_bounds().linear
        linear = functools.partial(nnx.Linear, use_bias=False, dtype=dtype, kernel_init=kernel_init, rngs=rngs)
        self.heads = config.heads
        self.norm1 = nnx.RMSNorm(width, epsilon=_EPSILON, rngs=rngs)
        self.query, self.key, self.value = (linear(width, inner) for _ in range(3))
        self.projection = linear(inner, width)
        self.norm2 = nnx.RMSNorm(width, epsilon=_EPSILON, rngs=rngs)
        self.gate, self.hidden = linear(width, config.hidden), linear(width, config.hidden)
        self.output = linear(config.hidden, width)

    def __call__(self, x: Float[Array, "b n width"], bias: Float[Array, "#b heads n n"]) -> Float[Array, "b n width"]:
        """Returns the tokens after the block."""
        batch, tokens, _ = x.shape
        normed = self.norm1(x)
        query, key, value = (
            layer(normed).reshape(batch, tokens, self.heads, -1) for layer in (self.query, self.key, self.value)
        )
        attended = attend(query, key, value, bias=bias, scale=1.0)
        x = x + self.projection(attended.reshape(batch, tokens, -1))
        normed = self.norm2(x)
        return x + self.output(jax.nn.gelu(self.gate(normed), approximate=True) * self.hidden(normed))


class T5Ends(nnx.Module):
    """What stands before and behind the blocks: the embedding of tokens, the table of distances, the last norm."""

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        self.config = config
        embed = functools.partial(nnx.Embed, embedding_init=uniform_bounds().embedding, rngs=rngs)
        self.tokens = embed(config.vocabulary, config.width, dtype=jnp.dtype(config.dtype))
        self.distances = embed(config.buckets, config.heads)
        self.norm = nnx.RMSNorm(config.width, epsilon=_EPSILON, rngs=rngs)

    def bias(self, mask: Bool[Array, "b n"]) -> Float[Array, "b heads n n"]:
        """Returns what is added to the scores of every block."""
        config, tokens = self.config, mask.shape[1]
        places = np.arange(tokens)
        buckets = distance_buckets(places[None] - places[:, None], config.buckets, config.max_distance)
        table = jnp.moveaxis(self.distances(jnp.asarray(buckets)), -1, 0)
        return table[None] + jnp.where(mask, 0.0, _HIDDEN)[:, None, None]


class T5Encoder(nnx.Module):
    """The whole encoder."""

    def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
        self.ends = T5Ends(config, rngs=rngs)
        self.blocks = make_stack(config.layers, lambda rngs: T5Block(config, rngs=rngs), rngs)

    def __call__(self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> Float[Array, "b n width"]:
        """Encodes texts."""
        bias = self.ends.bias(mask)
        x, _ = run_stack(self.blocks, self.ends.tokens(ids), lambda block, x: block(x, bias))
        return self.ends.norm(x)


@functools.lru_cache(maxsize=32)
def _described(config: T5Config) -> tuple[nnx.GraphDef[T5Encoder], dict[str, Any]]:
    return describe(lambda rngs: T5Encoder(config, rngs=rngs))


@functools.lru_cache(maxsize=32)
def _parts(config: T5Config) -> tuple[nnx.GraphDef[T5Ends], nnx.GraphDef[T5Block]]:
    ends, _ = describe(lambda rngs: T5Ends(config, rngs=rngs))
    block, _ = describe(lambda rngs: T5Block(config, rngs=rngs))
    return ends, block


def t5_shapes(config: T5Config) -> dict[str, Any]:
    """Returns the encoder's parameters as `jax.ShapeDtypeStruct`s, at no cost."""
    return jax.tree.map(lambda leaf: leaf, _described(config)[1])


def encode_t5(
    config: T5Config,
    params: dict[str, Any],
    ids: Int[Array | np.ndarray, "b n"],
    mask: Bool[Array | np.ndarray, "b n"] | None = None,
) -> Float[Array, "b n width"]:
    """Encodes texts.

    Args:
        config: of the encoder.
        params: of an importer.
        ids: tokens of each text.
        mask: which of them may be looked at. PixArt hides padding; Stable Diffusion 3 gives no mask.
    """
    mask = jnp.ones(ids.shape, bool) if mask is None else jnp.asarray(mask)
    return nnx.merge(_described(config)[0], params)(jnp.asarray(ids), mask)


def start_t5(
    config: T5Config, ends: dict[str, Any], ids: Int[Array | np.ndarray, "b n"], mask: Bool[Array | np.ndarray, "b n"]
) -> tuple[Float[Array, "b n width"], Float[Array, "b heads n n"]]:
    """Returns what the first block is given, and the bias that all share; `ends` is `params["ends"]`."""
    model = nnx.merge(_parts(config)[0], ends)
    return model.tokens(jnp.asarray(ids)), model.bias(jnp.asarray(mask))


def apply_t5_block(
    config: T5Config,
    block: dict[str, Any],
    x: Float[Array | np.ndarray, "b n width"],
    bias: Float[Array | np.ndarray, "b heads n n"],
) -> Float[Array, "b n width"]:
    """Runs one block; `block` is `params["blocks"]` without its leading axis."""
    return nnx.merge(_parts(config)[1], block)(jnp.asarray(x), jnp.asarray(bias))


def finish_t5(
    config: T5Config, ends: dict[str, Any], x: Float[Array | np.ndarray, "b n width"]
) -> Float[Array, "b n width"]:
    """Returns what the last norm makes of the last block's tokens."""
    return nnx.merge(_parts(config)[0], ends).norm(jnp.asarray(x))
