"""The transformer of Stable Diffusion 3 and 3.5 (MMDiT, Esser et al. 2024, arXiv 2403.03206), over several views.

    views ► patches + positions ─► blocks: one attention over the tokens of all views and of the prompt,
    prompt ► projection ─────────►         an MLP for each of the two streams ► patches

With one view it is the plain image model. The prompt's tokens are there once, however many views there are; time and
pooled prompt are an object's, so its views' tokens are one sequence. Stable Diffusion 3.5 normalises queries and keys
of each head, and the first blocks of its medium model have a second attention among the views alone.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num

from diffgs_jax.errors import UserError
from diffgs_jax.models.diffsplat.conditions import TextFeatures, TextProjection
from diffgs_jax.models.diffsplat.config import MMDiTConfig
from diffgs_jax.models.layers.attention import attend_with
from diffgs_jax.models.layers.dit import MLP, layer_norm, modulate
from diffgs_jax.models.layers.embeddings import TimestepEmbedding
from diffgs_jax.models.layers.initialization import Initializers
from diffgs_jax.models.layers.patches import patchify, unpatchify
from diffgs_jax.models.layers.positions import grid_positions
from diffgs_jax.models.layers.stack import make_stack, run_stack

Heads = Float[Array, "b n heads d"]


class PositionTable(nnx.Module):
    """Positions of a square of tokens that are read, not trained."""

    def __init__(self, side: int, width: int):
        self.table = nnx.Param(jnp.zeros((side, side, width)))


class Projections(nnx.Module):
    """Queries, keys and values of a stream of tokens, and the way back from what attention found."""

    def __init__(self, config: MMDiTConfig, *, returns: bool, initializers: Initializers, rngs: nnx.Rngs):
        """Draws the weights; without `returns` there is no way back."""
        width, dtype = config.heads * config.head_width, jnp.dtype(config.dtype)
        self.heads = config.heads

        def linear() -> nnx.Linear:
            return nnx.Linear(width, width, dtype=dtype, kernel_init=initializers.linear, rngs=rngs)

        def norm() -> nnx.RMSNorm | None:
            return nnx.RMSNorm(config.head_width, epsilon=1e-6, dtype=dtype, rngs=rngs) if config.qk_norm else None

        self.query, self.key, self.value = linear(), linear(), linear()
        self.query_norm, self.key_norm = norm(), norm()
        self.output = linear() if returns else None

    def __call__(self, x: Float[Array, "b n width"]) -> tuple[Heads, Heads, Heads]:
        """Returns queries, keys and values by head."""
        query, key, value = (
            linear(x).reshape(*x.shape[:2], self.heads, -1) for linear in (self.query, self.key, self.value)
        )
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        return query, key, value


class JointBlock(nnx.Module):
    """A block of both streams; the last one only reads the prompt and leaves it as it is."""

    def __init__(self, config: MMDiTConfig, *, dual: bool, last: bool, initializers: Initializers, rngs: nnx.Rngs):
        width, dtype = config.heads * config.head_width, jnp.dtype(config.dtype)
        self.kind, self.dtype = config.attention, dtype

        def projections(returns: bool = True) -> Projections:
            return Projections(config, returns=returns, initializers=initializers, rngs=rngs)

        def modulation(signals: int) -> nnx.Linear:
            return nnx.Linear(width, signals * width, kernel_init=initializers.modulation, rngs=rngs)

        def mlp() -> MLP:
            return MLP(width, 4 * width, dtype=dtype, initializers=initializers, rngs=rngs)

        self.modulation = modulation(9 if dual else 6)
        self.text_modulation = modulation(2 if last else 6)
        self.attention, self.text_attention = projections(), projections(returns=not last)
        self.dual_attention = projections() if dual else None
        self.mlp, self.text_mlp = mlp(), None if last else mlp()

    def __call__(
        self, x: Float[Array, "b n width"], text: Float[Array, "b m width"], condition: Float[Array, "b width"]
    ) -> tuple[Float[Array, "b n width"], Float[Array, "b m width"]]:
        """Returns the views' and the prompt's tokens after the block.

        Args:
            x: of all views of an object.
            text: of its prompt.
            condition: vector of each object, through its SiLU.
        """
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp, *dual = jnp.split(
            self.modulation(condition), 6 if self.dual_attention is None else 9, axis=-1
        )
        normal = layer_norm(x)
        of_text = self.text_modulation(condition)
        if self.text_mlp is None:
            text_scale, text_shift = jnp.split(of_text, 2, axis=-1)  # the other way round than everywhere else
        else:
            text_shift, text_scale, text_gate, text_shift_mlp, text_scale_mlp, text_gate_mlp = jnp.split(of_text, 6, -1)
        ours = self.attention(modulate(normal, shift, scale).astype(self.dtype))
        theirs = self.text_attention(modulate(layer_norm(text), text_shift, text_scale).astype(self.dtype))
        found = attend_with(
            self.kind, *(jnp.concatenate(pair, axis=1) for pair in zip(ours, theirs, strict=True))
        ).reshape(x.shape[0], -1, x.shape[2])
        found, found_by_text = found[:, : x.shape[1]], found[:, x.shape[1] :]
        assert self.attention.output is not None
        x = x + (gate[:, None] * self.attention.output(found)).astype(x.dtype)
        if self.dual_attention is not None:
            dual_shift, dual_scale, dual_gate = dual
            heads = self.dual_attention(modulate(normal, dual_shift, dual_scale).astype(self.dtype))
            assert self.dual_attention.output is not None
            update = self.dual_attention.output(attend_with(self.kind, *heads).reshape(x.shape))
            x = x + (dual_gate[:, None] * update).astype(x.dtype)
        update = self.mlp(modulate(layer_norm(x), shift_mlp, scale_mlp).astype(self.dtype))
        x = x + (gate_mlp[:, None] * update).astype(x.dtype)
        if self.text_mlp is None:
            return x, text
        assert self.text_attention.output is not None
        text = text + (text_gate[:, None] * self.text_attention.output(found_by_text)).astype(text.dtype)
        update = self.text_mlp(modulate(layer_norm(text), text_shift_mlp, text_scale_mlp).astype(self.dtype))
        return x, text + (text_gate_mlp[:, None] * update).astype(text.dtype)


def block_groups(config: MMDiTConfig) -> list[tuple[int, bool, bool]]:
    """Returns how many equal blocks follow one another, whether they are dual, and whether they are the last."""
    kinds = [(layer < config.dual_layers, layer == config.layers - 1) for layer in range(config.layers)]
    return [(len(list(equal)), *kind) for kind, equal in itertools.groupby(kinds)]


class MMDiT(nnx.Module):
    """The network of an `MMDiTConfig`."""

    def __init__(self, config: MMDiTConfig, inputs: int, outputs: int, *, initializers: Initializers, rngs: nnx.Rngs):
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
        self.positions = PositionTable(config.position_side, width) if config.position_table == "stored" else None
        self.timestep = TimestepEmbedding(width, initializers=initializers, rngs=rngs)
        self.pooled = TextProjection(config.pooled_width, width, "silu", initializers=initializers, rngs=rngs)
        self.text = nnx.Linear(config.text_width, width, kernel_init=initializers.embedding, rngs=rngs)

        def group(count: int, dual: bool, last: bool) -> JointBlock:
            def block(rngs: nnx.Rngs) -> JointBlock:
                return JointBlock(config, dual=dual, last=last, initializers=initializers, rngs=rngs)

            return make_stack(count, block, rngs)

        self.blocks = nnx.Dict({str(number): group(*kind) for number, kind in enumerate(block_groups(config))})
        self.final_modulation = nnx.Linear(width, 2 * width, kernel_init=initializers.modulation, rngs=rngs)
        self.output = nnx.Linear(width, patch * outputs, kernel_init=initializers.output, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b v h w inputs"], timesteps: Num[Array, "b"], text: TextFeatures
    ) -> Float[Array, "b v h w outputs"]:
        """Returns the prediction of each view, float32.

        Args:
            x: noisy latents and what is known of each view, height and width multiples of the patch size.
            timesteps: of the noise, of each object, 1000 times the noise level.
            text: the prompt of each object, with a pooled vector.

        Raises:
            UserError: if the patch size does not divide the latents, or they are larger than the table of positions.
        """
        config, (batch, views, height, width) = self.config, x.shape[:4]
        if height % config.patch_size or width % config.patch_size:
            raise UserError(f"patches of {config.patch_size} do not tile latents of {height} × {width}")
        dtype = jnp.dtype(config.dtype)
        rows, columns = height // config.patch_size, width // config.patch_size
        if max(rows, columns) > config.position_side:
            raise UserError(f"latents of {height} × {width} are larger than a table of {config.position_side} tokens")
        features = config.heads * config.head_width
        tokens = self.patches(patchify(x, config.patch_size))
        tokens = tokens + self._positions(rows, columns).reshape(1, 1, rows * columns, features)
        carry = (tokens.reshape(batch, views * rows * columns, features).astype(dtype), self.text(text.tokens))
        carry = (carry[0], carry[1].astype(dtype))
        assert text.pooled is not None
        condition = jax.nn.silu(self.timestep(timesteps) + self.pooled(text.pooled))
        for number in range(len(self.blocks)):
            carry, _ = run_stack(
                self.blocks[str(number)],
                carry,
                lambda block, carry: block(*carry, condition),
                remat=config.remat,
            )
        scale, shift = jnp.split(self.final_modulation(condition), 2, axis=-1)
        patches = self.output(modulate(layer_norm(carry[0]), shift, scale))
        patches = patches.reshape(batch, views, rows * columns, -1)
        return unpatchify(patches, config.patch_size, height, width).astype(jnp.float32)

    def _positions(self, rows: int, columns: int) -> Array:
        """Returns the middle of the table of positions, `[rows, columns, width]`."""
        side, base = self.config.position_side, self.config.position_base
        rows_here, columns_here = (slice((side - n) // 2, (side - n) // 2 + n) for n in (rows, columns))
        if self.positions is not None:
            return jax.lax.stop_gradient(self.positions.table[...][rows_here, columns_here])
        places = np.arange(side) * base / side
        width = self.config.heads * self.config.head_width
        return jnp.asarray(grid_positions(width, places[rows_here], places[columns_here]))
