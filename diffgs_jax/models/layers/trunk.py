"""A stack of blocks: built with `nnx.vmap`, so that parameters have a leading layer axis, and run by `jax.lax.scan`."""

from typing import Literal

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import AttentionKind
from diffgs_jax.models.layers.dit import Block, Modulation
from diffgs_jax.models.layers.initialization import Initializers

RematKeeps = Literal["nothing", "products"]
"""What a rematerialised block keeps for the backward pass, beside its input."""


class Trunk(nnx.Module):
    """Blocks one after another. Unless unrolled, the compiled program holds one block, whatever the depth."""

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: int,
        *,
        modulation: Modulation,
        attention: AttentionKind,
        dtype: DTypeLike,
        remat: bool,
        remat_keeps: RematKeeps = "nothing",
        unroll: bool,
        initializers: Initializers,
        rngs: nnx.Rngs,
    ):
        @nnx.split_rngs(splits=layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(
                width,
                heads,
                mlp_ratio,
                modulation=modulation,
                attention=attention,
                dtype=dtype,
                initializers=initializers,
                rngs=rngs,
            )

        self.dtype = dtype
        self.remat = remat
        self.remat_keeps = remat_keeps
        self.unroll = unroll
        self.blocks = stack(rngs)
        self.shared = modulation == "shared"
        if self.shared:
            self.modulation = nnx.Linear(width, 6 * width, kernel_init=initializers.modulation, rngs=rngs)

    def __call__(
        self, tokens: Float[Array, "b n width"], condition: Float[Array, "b width"]
    ) -> Float[Array, "b n width"]:
        """Returns the tokens after the last block, in the type they came in; between blocks they have the trunk's.

        Args:
            tokens: of one sample each, all attending to all.
            condition: vector of each sample, through its SiLU.
        """
        signal = self.modulation(condition) if self.shared else condition
        graphdef, stacked = nnx.split(self.blocks)

        def step(carry: Array, layer: nnx.State) -> tuple[Array, None]:
            return nnx.merge(graphdef, layer)(carry, signal), None

        policies = jax.checkpoint_policies
        policy = policies.dots_with_no_batch_dims_saveable if self.remat_keeps == "products" else None
        body = jax.checkpoint(step, policy=policy) if self.remat else step
        last = jax.lax.scan(body, tokens.astype(self.dtype), stacked, unroll=self.unroll)[0]
        return last.astype(tokens.dtype)
