"""ImageReward (Xu et al. 2023): how well people would like a picture for a text."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from diffgs_jax.models.layers.attention import attend
from diffgs_jax.models.layers.initialization import uniform_bounds
from diffgs_jax.models.layers.stack import describe, make_stack, run_stack
from diffgs_jax.models.layers.text_encoders.clip import exact_gelu
from diffgs_jax.models.layers.vision_language.config import BLIPTextConfig, RewardConfig
from diffgs_jax.models.layers.vision_language.pictures import encode_pictures, tower_shapes

_EPSILON = 1e-12
_MASKED = -1e4


class Looking(nnx.Module):
    """Attention to other tokens, or to the text's own, added and normalised behind."""

    def __init__(self, config: BLIPTextConfig, others: int, *, rngs: nnx.Rngs):
        linear = functools.partial(nnx.Linear, kernel_init=uniform_bounds().linear, rngs=rngs)
        self.heads = config.heads
        self.query = linear(config.width, config.width)
        self.key, self.value = linear(others, config.width), linear(others, config.width)
        self.projection = linear(config.width, config.width)
        self.norm = _norm(config, rngs)

    def __call__(
        self, x: Float[Array, "b n width"], others: Float[Array, "b m others"], bias: Array | None
    ) -> Float[Array, "b n width"]:
        """Returns the tokens after it."""
        query = self.query(x).reshape(*x.shape[:2], self.heads, -1)
        key, value = (layer(others).reshape(*others.shape[:2], self.heads, -1) for layer in (self.key, self.value))
        return self.norm(x + self.projection(attend(query, key, value, bias=bias).reshape(x.shape)))


class ReadingBlock(nnx.Module):
    """Attention to the text, to the picture, and an MLP; norms stand behind, as in BERT."""

    def __init__(self, config: BLIPTextConfig, *, rngs: nnx.Rngs):
        linear = functools.partial(nnx.Linear, kernel_init=uniform_bounds().linear, rngs=rngs)
        self.text = Looking(config, config.width, rngs=rngs)
        self.picture = Looking(config, config.picture_width, rngs=rngs)
        self.hidden, self.output = linear(config.width, config.hidden), linear(config.hidden, config.width)
        self.norm = _norm(config, rngs)

    def __call__(
        self, x: Float[Array, "b n width"], picture: Float[Array, "b m others"], bias: Array
    ) -> Float[Array, "b n width"]:
        """Returns the tokens after the block."""
        x = self.picture(self.text(x, x, bias), picture, None)
        return self.norm(x + self.output(exact_gelu(self.hidden(x))))


def _norm(config: BLIPTextConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(config.width, epsilon=_EPSILON, use_fast_variance=False, rngs=rngs)


class Reader(nnx.Module):
    """A text's tokens as they see a picture, and the number of the first one."""

    def __init__(self, config: RewardConfig, *, rngs: nnx.Rngs):
        inits, text = uniform_bounds(), config.text
        embed = functools.partial(nnx.Embed, embedding_init=inits.embedding, rngs=rngs)
        self.tokens, self.places = embed(text.vocabulary, text.width), embed(text.positions, text.width)
        self.norm = _norm(text, rngs)
        self.blocks = make_stack(text.layers, lambda rngs: ReadingBlock(text, rngs=rngs), rngs)
        widths = (text.width, *config.head, 1)
        self.head = nnx.Dict(
            {
                str(number): nnx.Linear(before, after, kernel_init=inits.linear, rngs=rngs)
                for number, (before, after) in enumerate(itertools.pairwise(widths))
            }
        )

    def __call__(
        self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"], picture: Float[Array, "b m others"]
    ) -> Float[Array, "b"]:
        """Returns one number for each text and its picture."""
        bias = jnp.where(mask, 0.0, _MASKED)[:, None, None]
        x = self.norm(self.tokens(ids) + self.places(jnp.arange(ids.shape[1]))[None])
        x, _ = run_stack(self.blocks, x, lambda block, x: block(x, picture, bias))
        x = x[:, 0]
        for number in range(len(self.head)):  # nothing between them: in training there is dropout
            x = self.head[str(number)](x)
        return x[:, 0]


@functools.lru_cache(maxsize=8)
def _described(config: RewardConfig) -> tuple[nnx.GraphDef[Reader], dict[str, Any]]:
    return describe(lambda rngs: Reader(config, rngs=rngs))


def reward_shapes(config: RewardConfig) -> dict[str, Any]:
    """Returns the parameters as `jax.ShapeDtypeStruct`s, at no cost: `picture` and `reader`."""
    return {"picture": tower_shapes(config.picture), "reader": jax.tree.map(lambda leaf: leaf, _described(config)[1])}


def reward_of(
    config: RewardConfig,
    params: dict[str, Any],
    pictures: Float[Array | np.ndarray, "b size size 3"],
    ids: Int[Array | np.ndarray, "b n"],
    mask: Bool[Array | np.ndarray, "b n"],
) -> Float[Array, "b"]:
    """Returns how well each picture suits its text: 0 is the mean of the published training data, 1 its deviation.

    Args:
        config: of the network.
        params: its weights.
        pictures: of `prepare_pictures`.
        ids: tokens of each text.
        mask: which of them are no padding.
    """
    seen = encode_pictures(config.picture, params["picture"], pictures).tokens
    value = nnx.merge(_described(config)[0], params["reader"])(jnp.asarray(ids), jnp.asarray(mask), seen)
    return (value - config.mean) / config.deviation
