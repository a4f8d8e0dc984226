"""CLIP's image encoder (Radford et al. 2021, section 2.4), and pictures as Zero-1-to-3 brings them to its size."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from diffgs_jax.models.layers.clip_vision_config import CLIPVisionConfig
from diffgs_jax.models.layers.initialization import draw_uniform, uniform_bounds
from diffgs_jax.models.layers.patches import patchify
from diffgs_jax.models.layers.stack import bounds_of, describe, make_stack, run_stack
from diffgs_jax.models.layers.text_encoders.clip import CLIPBlock, clip_norm
from diffgs_jax.weights import Naming

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_SHARPNESS = -0.75
"""a of the cubic kernel (Keys 1981), as PyTorch has it; `jax.image.resize` has −0.5."""

CLIP_VISION_NAMES = Naming(
    replacements=(
        (r"^patches$", "vision_model.embeddings.patch_embedding"),
        (r"^class_token$", "vision_model.embeddings.class_embedding"),
        (r"^positions$", "vision_model.embeddings.position_embedding"),
        (r"^first_norm$", "vision_model.pre_layrnorm"),
        (r"^last_norm$", "vision_model.post_layernorm"),
        (r"^projection$", "visual_projection"),
        (r"^blocks\.", "vision_model.encoder.layers.{i}."),
        (r"\.norm(\d)$", r".layer_norm\1"),
        (r"\.(query|key|value)$", lambda match: f".self_attn.{match[1][0]}_proj"),
        (r"\.projection$", ".self_attn.out_proj"),
        (r"\.hidden$", ".mlp.fc1"),
        (r"\.output$", ".mlp.fc2"),
    ),
    left_out=r"position_ids$",
)
"""Names of `CLIPVisionModelWithProjection`, after the patches' convolution became a product and the class token a row
of a table."""


class CLIPVisionEncoder(nnx.Module):
    """Patches and a class token with their places, blocks between two norms, and a projection of the class token."""

    def __init__(self, config: CLIPVisionConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype, inits = jnp.dtype(config.dtype), uniform_bounds()
        linear = functools.partial(nnx.Linear, use_bias=False, dtype=dtype, kernel_init=inits.linear, rngs=rngs)
        embed = functools.partial(nnx.Embed, dtype=dtype, embedding_init=inits.embedding, rngs=rngs)
        self.patches = linear(3 * config.patch_size**2, config.width)
        self.class_token = embed(1, config.width)
        self.positions = embed((config.resolution // config.patch_size) ** 2 + 1, config.width)
        self.first_norm = clip_norm(config.width, rngs)
        self.blocks = make_stack(config.layers, lambda rngs: CLIPBlock(config, causal=False, rngs=rngs), rngs)
        self.last_norm = clip_norm(config.width, rngs)
        self.projection = linear(config.width, config.projection)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b projection"]:
        """Returns a vector for each picture."""
        patches = self.patches(patchify(images, self.config.patch_size))
        first = jnp.broadcast_to(self.class_token(jnp.zeros(1, jnp.int32))[None], (len(images), 1, patches.shape[-1]))
        x = jnp.concatenate([first, patches], axis=1)
        x = self.first_norm(x + self.positions(jnp.arange(x.shape[1]))[None])
        x, _ = run_stack(self.blocks, x, lambda block, x: block(x))
        return self.projection(self.last_norm(x[:, 0])).astype(jnp.float32)


@functools.lru_cache(maxsize=8)
def _described(config: CLIPVisionConfig) -> tuple[nnx.GraphDef[CLIPVisionEncoder], dict[str, Any]]:
    return describe(lambda rngs: CLIPVisionEncoder(config, rngs=rngs))


def clip_vision_shapes(config: CLIPVisionConfig) -> dict[str, Any]:
    """Returns the encoder's parameters as `jax.ShapeDtypeStruct`s, at no cost."""
    return jax.tree.map(lambda leaf: leaf, _described(config)[1])


def init_clip_vision(config: CLIPVisionConfig, key: PRNGKeyArray) -> dict[str, Any]:
    """Draws the parameters of a new encoder."""
    return draw_uniform(bounds_of(lambda rngs: CLIPVisionEncoder(config, rngs=rngs)), key)


def encode_clip_images(
    config: CLIPVisionConfig, params: dict[str, Any], images: Float[Array | np.ndarray, "b h w 3"]
) -> Float[Array, "b projection"]:
    """Encodes pictures, resized to the encoder's resolution and normalised as CLIP was trained.

    Args:
        config: of the encoder.
        params: of an importer.
        images: in [0, 1], of any size.
    """
    mean, deviation = (jnp.asarray(of)[None, None, None] for of in (_MEAN, _DEVIATION))
    resized = resize_aligned(jnp.asarray(images), config.resolution)
    return nnx.merge(_described(config)[0], params)((resized - mean) / deviation)


def resize_aligned(images: Float[Array, "b h w c"], side: int) -> Float[Array, "b {side} {side} c"]:
    """Returns pictures at another size: bicubic (a = −0.75), without antialiasing, corner on corner, edges repeated.

    As `interpolate(mode="bicubic", align_corners=True)` of PyTorch, by which Zero-1-to-3 resizes pictures for CLIP.
    """
    height, width = (jnp.asarray(_cubic_rows(size, side)) for size in images.shape[1:3])
    # Written out in two sums: the weights of a row are few, and products of matrices may be rounded on GPUs
    precision = jax.lax.Precision.HIGHEST
    tall = jnp.einsum("yi,bixc->byxc", height, images, precision=precision)
    return jnp.einsum("xj,byjc->byxc", width, tall, precision=precision)


def _cubic_rows(size: int, side: int) -> Float[np.ndarray, "{side} {size}"]:
    """Returns the weights of `size` pixels in each of `side` new ones."""
    places = np.linspace(0, size - 1, side)
    first = np.floor(places).astype(int)
    rows = np.zeros((side, size))
    for tap in range(-1, 3):
        x = np.abs(places - (first + tap))
        near = (_SHARPNESS + 2) * x**3 - (_SHARPNESS + 3) * x**2 + 1
        far = _SHARPNESS * (x**3 - 5 * x**2 + 8 * x - 4)
        weights = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        np.add.at(rows, (np.arange(side), np.clip(first + tap, 0, size - 1)), weights)
    return rows.astype(np.float32)
