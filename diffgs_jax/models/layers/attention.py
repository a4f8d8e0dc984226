"""Self-attention, written out for any device or handed to cuDNN."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffgs_jax.models.layers.initialization import Initializers

AttentionKind = Literal["xla", "cudnn"]
"""`xla` holds a tokens × tokens matrix for each head; `cudnn` (bfloat16 on NVIDIA GPUs) does not."""


def attend(
    query: Float[Array, "b n heads d"],
    key: Float[Array, "b m heads d"],
    value: Float[Array, "b m heads d"],
    *,
    bias: Float[Array, "#b #heads #n m"] | None = None,
    scale: float | None = None,
) -> Float[Array, "b n heads d"]:
    """Returns softmax(scale · q kᵀ + bias) v for each head; scores and softmax in float32.

    The same as `jax.nn.dot_product_attention`, which on CPU takes twice as long forward and backward: there, batched
    matrix products want the heads beside the batch.

    Args:
        query: of the tokens that look.
        key: of the tokens that are looked at.
        value: what is taken from them.
        bias: added to the scores, −∞ where a token is not to be seen.
        scale: of the scores, 1 / √d by default.
    """
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = jnp.einsum("bhnd,bhmd->bhnm", query, key, preferred_element_type=jnp.float32)
    scores = scores if bias is None else scores + bias
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.swapaxes(jnp.einsum("bhnm,bhmd->bhnd", weights, value), 1, 2)


def attend_with(
    kind: AttentionKind,
    query: Float[Array, "b n heads d"],
    key: Float[Array, "b m heads d"],
    value: Float[Array, "b m heads d"],
    *,
    bias: Float[Array, "#b #heads #n m"] | None = None,
) -> Float[Array, "b n heads d"]:
    """Returns softmax(q kᵀ / √d + bias) v for each head, computed by whoever is asked for."""
    # cuDNN's cannot be lowered for another device, and a model trained on a GPU must run on any.
    if kind == "cudnn" and jax.default_backend() == "gpu":
        scores = None if bias is None else bias.astype(query.dtype)
        return jax.nn.dot_product_attention(query, key, value, bias=scores, implementation="cudnn")
    return attend(query, key, value, bias=bias)


class Attention(nnx.Module):
    """Multi-head self-attention over all tokens of a sample."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        kind: AttentionKind,
        dtype: DTypeLike,
        initializers: Initializers,
        projection_init: Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        """Draws the weights; `projection_init` takes the place of `initializers.linear` for the last projection."""
        self.kind = kind
        self.heads = heads
        self.qkv = nnx.Linear(width, 3 * width, dtype=dtype, kernel_init=initializers.linear, rngs=rngs)
        projection_init = projection_init or initializers.linear
        self.projection = nnx.Linear(width, width, dtype=dtype, kernel_init=projection_init, rngs=rngs)

    def __call__(self, x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
        """Attends among the tokens of each sample."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        attended = attend_with(self.kind, query, key, value)
        return self.projection(attended.reshape(batch, tokens, width))
