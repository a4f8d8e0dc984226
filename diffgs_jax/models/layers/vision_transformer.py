"""Vision transformer with registers: DINOv2's (Oquab et al. 2023; Darcet et al. 2023).

Peculiarities of the published one: norms with an epsilon of 1e-6, the exact GELU, a learned scale behind attention and
MLP (LayerScale, Touvron et al. 2021), position embeddings of a larger grid that are resized to the image's, and
registers that get none.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import Attention, AttentionKind
from diffgs_jax.models.layers.initialization import Initializers
from diffgs_jax.models.layers.patches import patchify

_EPSILON = 1e-6


class ExactMLP(nnx.Module):
    """Two linear layers around the exact GELU."""

    def __init__(
        self, width: int, hidden: int, outputs: int, *, dtype: DTypeLike, initializers: Initializers, rngs: nnx.Rngs
    ):
        self.hidden = nnx.Linear(width, hidden, dtype=dtype, kernel_init=initializers.linear, rngs=rngs)
        self.output = nnx.Linear(hidden, outputs, dtype=dtype, kernel_init=initializers.linear, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch outputs"]:
        """Applies the layers to each vector."""
        return self.output(jax.nn.gelu(self.hidden(x), approximate=False))


class LearnedTokens(nnx.Module):
    """Learned vectors: tokens, or positions."""

    def __init__(self, *shape: int, initializers: Initializers, rngs: nnx.Rngs):
        self.embedding = nnx.Param(initializers.embedding(rngs.params(), shape, jnp.float32))

    def __call__(self) -> Float[Array, "*shape"]:
        """Returns them."""
        return self.embedding[...]


class LayerScale(nnx.Module):
    """A learned factor for each feature (Touvron et al. 2021, "Going deeper with Image Transformers", section 2)."""

    def __init__(self, width: int, initial: float):
        self.scale = nnx.Param(jnp.full((width,), initial))

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Returns the scaled features."""
        return x * self.scale[...][None, None].astype(x.dtype)


class VisionBlock(nnx.Module):
    """Attention and MLP, each behind a norm, scaled, and beside a skip."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: int,
        *,
        layer_scale: float,
        attention: AttentionKind,
        dtype: DTypeLike,
        initializers: Initializers,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        self.norm1 = nnx.LayerNorm(width, epsilon=_EPSILON, rngs=rngs)
        self.attention = Attention(width, heads, kind=attention, dtype=dtype, initializers=initializers, rngs=rngs)
        self.scale1 = LayerScale(width, layer_scale)
        self.norm2 = nnx.LayerNorm(width, epsilon=_EPSILON, rngs=rngs)
        self.mlp = ExactMLP(width, mlp_ratio * width, width, dtype=dtype, initializers=initializers, rngs=rngs)
        self.scale2 = LayerScale(width, layer_scale)

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Returns the tokens after the block, in the type they came in."""
        x = x + self.scale1(self.attention(self.norm1(x).astype(self.dtype))).astype(x.dtype)
        return x + self.scale2(self.mlp(self.norm2(x).astype(self.dtype))).astype(x.dtype)


class VisionTransformer(nnx.Module):
    """From images to features: one vector of the whole image, and one of each register and patch."""

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: int,
        patch_size: int,
        position_grid: int,
        registers: int,
        layer_scale: float,
        attention: AttentionKind,
        dtype: DTypeLike,
        initializers: Initializers,
        rngs: nnx.Rngs,
    ):
        """Draws the weights.

        Args:
            width: features of a token.
            layers: blocks.
            heads: of attention.
            mlp_ratio: hidden features of the MLPs over `width`.
            patch_size: pixels on a patch's side.
            position_grid: positions on the side of the learned grid; another number of patches resizes it.
            registers: further tokens.
            layer_scale: what the learned scales start at.
            attention: who computes it.
            dtype: of matrix products; norms and the tokens themselves are float32.
            initializers: `linear` of kernels, `embedding` of learned tokens and positions.
            rngs: randomness.
        """

        @nnx.split_rngs(splits=layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: nnx.Rngs) -> VisionBlock:
            return VisionBlock(
                width,
                heads,
                mlp_ratio,
                layer_scale=layer_scale,
                attention=attention,
                dtype=dtype,
                initializers=initializers,
                rngs=rngs,
            )

        def learned(*shape: int) -> LearnedTokens:
            return LearnedTokens(*shape, initializers=initializers, rngs=rngs)

        self.patch_size = patch_size
        self.dtype = dtype
        self.patches = nnx.Linear(patch_size**2 * 3, width, dtype=dtype, kernel_init=initializers.linear, rngs=rngs)
        self.class_token = learned(width)
        self.class_position = learned(width)
        self.positions = learned(position_grid, position_grid, width)
        self.registers = learned(registers, width)
        # Stands for hidden patches in DINOv2's own training; nothing here reads it, published files have it.
        self.mask_token = learned(width)
        self.blocks = stack(rngs)
        self.norm = nnx.LayerNorm(width, epsilon=_EPSILON, rngs=rngs)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b n width"]:
        """Returns normalised features: of the class token, the registers, then the patches in raster order.

        Args:
            images: normalised as the weights expect; the patch size divides height and width.

        Raises:
            ValueError: if it does not.
        """
        batch, height, width, _ = images.shape
        patches = self.patches(patchify(images, self.patch_size).astype(self.dtype)).astype(jnp.float32)
        grid = height // self.patch_size, width // self.patch_size
        patches = patches + resize_positions(self.positions(), *grid).reshape(1, -1, patches.shape[-1])
        first = jnp.concatenate([(self.class_token() + self.class_position())[None], self.registers()])
        tokens = jnp.concatenate([jnp.broadcast_to(first[None], (batch, *first.shape)), patches], axis=1)
        graphdef, stacked = nnx.split(self.blocks)

        def step(carry: Array, layer: nnx.State) -> tuple[Array, None]:
            return nnx.merge(graphdef, layer)(carry), None

        return self.norm(jax.lax.scan(step, tokens, stacked)[0])


def resize_positions(
    positions: Float[Array, "g g width"], height: int, width: int
) -> Float[Array, "{height} {width} width"]:
    """Returns a grid of position embeddings at another size, as DINOv2 does: bicubic (a = −0.5) with antialiasing."""
    if positions.shape[:2] == (height, width):
        return positions
    return jax.image.resize(positions, (height, width, positions.shape[-1]), "cubic", antialias=True)
