"""The transformer of PixArt-α and PixArt-Σ (Chen et al. 2024, arXiv 2310.00426 and 2403.04692), over several views.

    views ► patches + positions ► blocks: self-attention over the tokens of all views,
                                          cross-attention to the prompt, MLP ► patches

With one view it is the plain image model. Time and prompt are an object's, the same for all of its views, so an
object's tokens are one sequence and nothing but their number tells several views from one. Peculiarities, all of them
the published network's: nothing is normalised before cross-attention; the padding of a prompt is not left out of it but
made unlikely by a bias of −10,000; one projection of the time serves all blocks, each of which adds a table of its own.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num

from diffgs_jax.errors import UserError
from diffgs_jax.models.diffsplat.attention import TokenAttention
from diffgs_jax.models.diffsplat.conditions import TextFeatures, TextProjection
from diffgs_jax.models.diffsplat.config import PixArtConfig
from diffgs_jax.models.layers.dit import MLP, ModulationOffset, layer_norm, modulate
from diffgs_jax.models.layers.embeddings import TimestepEmbedding
from diffgs_jax.models.layers.initialization import Initializers
from diffgs_jax.models.layers.patches import patchify, unpatchify
from diffgs_jax.models.layers.positions import grid_positions
from diffgs_jax.models.layers.stack import make_stack, run_stack

_PADDING_BIAS = -10_000.0


class PixArtBlock(nnx.Module):
    """Self-attention and MLP, modulated by the time, with cross-attention to the prompt between them."""

    def __init__(self, config: PixArtConfig, *, initializers: Initializers, rngs: nnx.Rngs):
        width, dtype = config.heads * config.head_width, jnp.dtype(config.dtype)
        self.dtype = dtype
        self.modulation = ModulationOffset(6 * width)

        def attention() -> TokenAttention:
            return TokenAttention(
                width, config.heads, kind=config.attention, dtype=dtype, initializers=initializers, rngs=rngs
            )

        self.attention, self.cross_attention = attention(), attention()
        self.mlp = MLP(width, 4 * width, dtype=dtype, initializers=initializers, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "b n width"],
        signals: Float[Array, "b signals"],
        text: Float[Array, "b m width"],
        bias: Float[Array, "b 1 1 m"] | None,
    ) -> Float[Array, "b n width"]:
        """Returns the tokens after the block."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = jnp.split(self.modulation(signals), 6, axis=-1)
        shown = modulate(layer_norm(x), shift, scale).astype(self.dtype)
        x = x + (gate[:, None] * self.attention(shown, shown)).astype(x.dtype)
        x = x + self.cross_attention(x, text, bias).astype(x.dtype)
        update = self.mlp(modulate(layer_norm(x), shift_mlp, scale_mlp).astype(self.dtype))
        return x + (gate_mlp[:, None] * update).astype(x.dtype)


class PixArtTransformer(nnx.Module):
    """The network of a `PixArtConfig`. It predicts twice as many channels as the latents have.

    The first half is the prediction; the second, a variance, was of use to the image model's training only.
    """

    def __init__(self, config: PixArtConfig, inputs: int, outputs: int, *, initializers: Initializers, rngs: nnx.Rngs):
        """Draws the weights.

        Args:
            config: settings.
            inputs: channels that are read.
            outputs: channels of the latents.
            initializers: by the role of a kernel.
            rngs: randomness.
        """
        width, patch = config.heads * config.head_width, config.patch_size**2
        self.config = config
        self.patches = nnx.Linear(patch * inputs, width, kernel_init=initializers.linear, rngs=rngs)
        self.timestep = TimestepEmbedding(width, initializers=initializers, rngs=rngs)
        self.modulation = nnx.Linear(width, 6 * width, kernel_init=initializers.modulation, rngs=rngs)
        self.text = TextProjection(config.text_width, width, "gelu", initializers=initializers, rngs=rngs)
        self.blocks = make_stack(
            config.layers, lambda rngs: PixArtBlock(config, initializers=initializers, rngs=rngs), rngs
        )
        self.final_modulation = ModulationOffset(2 * width)
        self.output = nnx.Linear(width, patch * 2 * outputs, kernel_init=initializers.output, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b v h w inputs"], timesteps: Num[Array, "b"], text: TextFeatures
    ) -> Float[Array, "b v h w outputs"]:
        """Returns the prediction of each view, float32.

        Args:
            x: noisy latents and what is known of each view, height and width multiples of the patch size.
            timesteps: of the noise, of each object.
            text: the prompt of each object.

        Raises:
            UserError: if the patch size does not divide the latents.
        """
        config, (batch, views, height, width) = self.config, x.shape[:4]
        if height % config.patch_size or width % config.patch_size:
            raise UserError(f"patches of {config.patch_size} do not tile latents of {height} × {width}")
        dtype = jnp.dtype(config.dtype)
        rows, columns = height // config.patch_size, width // config.patch_size
        features = config.heads * config.head_width
        # A finer grid spans the same range.
        places = (np.arange(side) * config.position_base / (side * config.position_scale) for side in (rows, columns))
        positions = grid_positions(features, *places).reshape(1, 1, rows * columns, features)
        tokens = self.patches(patchify(x, config.patch_size)) + positions
        tokens = tokens.reshape(batch, views * rows * columns, features).astype(dtype)
        time = self.timestep(timesteps)
        signals = self.modulation(jax.nn.silu(time))
        prompt = self.text(text.tokens).astype(dtype)
        bias = None
        if text.mask is not None:
            bias = ((1.0 - text.mask.astype(jnp.float32)) * _PADDING_BIAS)[:, None, None]
        tokens, _ = run_stack(
            self.blocks, tokens, lambda block, tokens: block(tokens, signals, prompt, bias), remat=config.remat
        )
        shift, scale = jnp.split(self.final_modulation(jnp.concatenate([time, time], axis=-1)), 2, axis=-1)
        patches = self.output(modulate(layer_norm(tokens), shift, scale))
        patches = patches.reshape(batch, views, rows * columns, -1)
        return unpatchify(patches, config.patch_size, height, width).astype(jnp.float32)
