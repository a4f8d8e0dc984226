"""Attention of tokens to tokens, their own or others."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffgs_jax.models.layers.attention import AttentionKind, attend_with
from diffgs_jax.models.layers.initialization import Initializers


class TokenAttention(nnx.Module):
    """Attention of tokens to tokens, their own or others."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        kind: AttentionKind,
        dtype: DTypeLike,
        initializers: Initializers,
        rngs: nnx.Rngs,
    ):
        self.heads, self.kind = heads, kind

        def linear() -> nnx.Linear:
            return nnx.Linear(width, width, dtype=dtype, kernel_init=initializers.linear, rngs=rngs)

        self.query, self.key, self.value, self.output = linear(), linear(), linear(), linear()

    def __call__(
        self, x: Float[Array, "b n width"], read: Float[Array, "b m width"], bias: Float[Array, "b 1 1 m"] | None = None
    ) -> Float[Array, "b n width"]:
        """Returns what each token of `x` finds in `read`."""

        def split(tokens: Array) -> Array:
            return tokens.reshape(*tokens.shape[:2], self.heads, -1)

        found = attend_with(self.kind, split(self.query(x)), split(self.key(read)), split(self.value(read)), bias=bias)
        return self.output(found.reshape(x.shape))
