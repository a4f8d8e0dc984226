"""What a denoiser is told beside the noisy latents and the time."""

from typing import Literal, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from diffgs_jax.models.layers.initialization import Initializers


class TextFeatures(NamedTuple):
    """A prompt as networks read it.

    Attributes:
        tokens: `[b, n, width]` a vector of each token.
        mask: `[b, n]` 1 where there is a token, 0 in the padding; None where networks read the padding too.
        pooled: `[b, width]` one vector of the whole prompt; None for networks that read none.
    """

    tokens: Float[Array, "b n width"]
    mask: Float[Array, "b n"] | None = None
    pooled: Float[Array, "b pooled"] | None = None


class TextProjection(nnx.Module):
    """Two linear layers around an activation."""

    def __init__(
        self,
        inputs: int,
        width: int,
        activation: Literal["gelu", "silu"],
        *,
        initializers: Initializers,
        rngs: nnx.Rngs,
    ):
        self.activation = activation
        self.hidden = nnx.Linear(inputs, width, kernel_init=initializers.embedding, rngs=rngs)
        self.output = nnx.Linear(width, width, kernel_init=initializers.embedding, rngs=rngs)

    def __call__(self, x: Float[Array, "*axes inputs"]) -> Float[Array, "*axes width"]:
        """Returns the projections."""
        hidden = self.hidden(x)
        active = jax.nn.silu(hidden) if self.activation == "silu" else jax.nn.gelu(hidden, approximate=True)
        return self.output(active)
