"""The half that looks at pictures: CLIP's (Radford et al. 2021, section 2.4) and BLIP's."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import attend
from diffgs_jax.models.layers.initialization import uniform_bounds
from diffgs_jax.models.layers.stack import describe, make_stack, run_stack
from diffgs_jax.models.layers.text_encoders.clip import exact_gelu
from diffgs_jax.models.layers.vision_language.config import PictureTowerConfig
from diffgs_jax.models.layers.vision_transformer import LearnedTokens

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of colours, which CLIP's and BLIP's pictures are normalised with."""


class PictureFeatures(NamedTuple):
    """What a tower makes of pictures.

    Attributes:
        tokens: `[b, n, width]` the class token and the patches, behind the last norm.
        projected: `[b, projection]` the first of them in the space that CLIP shares with texts; None without one.
    """

    tokens: Float[Array, "b n width"]
    projected: Float[Array, "b projection"] | None


class TowerBlock(nnx.Module):
    """Self-attention and an MLP, each behind a norm and beside a skip."""

    def __init__(self, config: PictureTowerConfig, *, rngs: nnx.Rngs):
        width, linear = config.width, functools.partial(nnx.Linear, kernel_init=uniform_bounds().linear, rngs=rngs)
        self.heads, self.activation = config.heads, config.activation
        self.norm1 = _norm(config, rngs)
        self.query, self.key, self.value = (linear(width, width) for _ in range(3))
        self.projection = linear(width, width)
        self.norm2 = _norm(config, rngs)
        self.hidden, self.output = linear(width, config.hidden), linear(config.hidden, width)

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Returns the tokens after the block."""
        normal = self.norm1(x)
        parts = (layer(normal).reshape(*x.shape[:2], self.heads, -1) for layer in (self.query, self.key, self.value))
        x = x + self.projection(attend(*parts).reshape(x.shape))
        hidden = self.hidden(self.norm2(x))
        hidden = hidden * jax.nn.sigmoid(1.702 * hidden) if self.activation == "quick_gelu" else exact_gelu(hidden)
        return x + self.output(hidden)


def _norm(config: PictureTowerConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(config.width, epsilon=config.epsilon, use_fast_variance=False, rngs=rngs)


class PictureTower(nnx.Module):
    """Patches and a class token with learned places, blocks, a norm, and a projection where there is one."""

    def __init__(self, config: PictureTowerConfig, *, rngs: nnx.Rngs):
        inits, side = uniform_bounds(), config.patch_size
        self.patches = nnx.Conv(
            3,
            config.width,
            (side, side),
            strides=side,
            padding="VALID",
            use_bias=not config.first_norm,
            kernel_init=inits.linear,
            rngs=rngs,
        )
        self.token = LearnedTokens(config.width, initializers=_as_tokens(), rngs=rngs)
        count = (config.size // side) ** 2 + 1
        self.places = LearnedTokens(count, config.width, initializers=_as_tokens(), rngs=rngs)
        self.first_norm = _norm(config, rngs) if config.first_norm else None
        self.blocks = make_stack(config.layers, lambda rngs: TowerBlock(config, rngs=rngs), rngs)
        self.norm = _norm(config, rngs)
        self.projection = (
            nnx.Linear(config.width, config.projection, use_bias=False, kernel_init=inits.linear, rngs=rngs)
            if config.projection
            else None
        )

    def __call__(self, pictures: Float[Array, "b size size 3"]) -> PictureFeatures:
        """Looks at normalised pictures."""
        patches = self.patches(pictures)
        patches = patches.reshape(len(patches), -1, patches.shape[-1])
        token = jnp.broadcast_to(self.token()[None, None], (len(patches), 1, patches.shape[-1]))
        x = jnp.concatenate([token, patches], axis=1) + self.places()[None]
        x = x if self.first_norm is None else self.first_norm(x)
        x, _ = run_stack(self.blocks, x, lambda block, x: block(x))
        x = self.norm(x)
        return PictureFeatures(x, None if self.projection is None else self.projection(x[:, 0]))


def _as_tokens() -> Any:
    """Returns initialisers of learned tokens, which have one axis or two."""
    return uniform_bounds()._replace(embedding=jax.nn.initializers.zeros)


@functools.lru_cache(maxsize=8)
def _described(config: PictureTowerConfig) -> tuple[nnx.GraphDef[PictureTower], dict[str, Any]]:
    return describe(lambda rngs: PictureTower(config, rngs=rngs))


def tower_shapes(config: PictureTowerConfig) -> dict[str, Any]:
    """Returns a tower's parameters as `jax.ShapeDtypeStruct`s, at no cost."""
    return jax.tree.map(lambda leaf: leaf, _described(config)[1])


def encode_pictures(
    config: PictureTowerConfig, params: dict[str, Any], pictures: Float[Array | np.ndarray, "b size size 3"]
) -> PictureFeatures:
    """Looks at pictures of the tower's size, normalised by `prepare_pictures`."""
    return nnx.merge(_described(config)[0], params)(jnp.asarray(pictures))


def prepare_pictures(images: Float[Array | np.ndarray, "b h w 3"], size: int) -> Float[Array, "b {size} {size} 3"]:
    """Returns images in [0, 1] as these networks want them: bicubic at their size, normalised.

    Args:
        images: square.
        size: height and width, pixels.
    """
    images = jnp.asarray(images, jnp.float32)
    if images.shape[1] != size:
        images = jnp.clip(jax.image.resize(images, (len(images), size, size, 3), "cubic", antialias=True), 0.0, 1.0)
    lead = (1, 1, 1, 3)
    return (images - jnp.asarray(MEAN).reshape(lead)) / jnp.asarray(DEVIATION).reshape(lead)
