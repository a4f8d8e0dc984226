"""The diffusion timestep as a vector."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num

from diffgs_jax.models.layers.initialization import Initializers

FREQUENCIES = 256
"""Size of the embedding below the MLP, as in DiT."""

TimeFeatures = Literal[
    "sinusoidal",  # geometrically spaced frequencies (Vaswani et al. 2017; Ho et al. 2020)
    "fourier",  # random ones (Tancik et al. 2020; Song et al. 2021)
]


def sinusoidal_embedding(
    timesteps: Num[Array | np.ndarray, "b"], size: int = FREQUENCIES, max_period: float = 10_000.0
) -> Float[Array, "b {size}"]:
    """Returns cosines, then sines, of the timesteps at `size / 2` geometrically spaced frequencies.

    Args:
        timesteps: in [0, 1000), whole or not.
        size: even number of features.
        max_period: of the slowest frequency, 2π timesteps.
    """
    half = size // 2
    frequencies = jnp.exp(-math.log(max_period) / half * jnp.arange(half, dtype=jnp.float32))
    angles = jnp.asarray(timesteps, jnp.float32)[:, None] * frequencies[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def fourier_embedding(
    timesteps: Num[Array | np.ndarray, "b"], size: int = FREQUENCIES, scale: float = 16.0
) -> Float[Array, "b {size}"]:
    """Returns cosines, then sines, of 2π f t / 1000 at `size / 2` random frequencies f ~ N(0, scale²), always the same.

    Random Fourier features (Tancik et al. 2020), as score models take them (Song et al. 2021): two embeddings' product
    falls with the times' distance as exp(−2 (π · scale · (t − t') / 1000)²), whatever the times are.

    Args:
        timesteps: in [0, 1000), whole or not.
        size: even number of features.
        scale: how fine times are told apart.
    """
    frequencies = np.random.default_rng(0).normal(0.0, scale, size // 2).astype(np.float32)
    angles = (2 * math.pi / 1000) * jnp.asarray(timesteps, jnp.float32)[:, None] * frequencies[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimestepEmbedding(nnx.Module):
    """Sinusoids through a two-layer MLP (DiT, Peebles and Xie 2023), in float32 whatever the trunk computes in."""

    def __init__(self, width: int, *, kind: TimeFeatures = "sinusoidal", initializers: Initializers, rngs: nnx.Rngs):
        self.features = sinusoidal_embedding if kind == "sinusoidal" else fourier_embedding
        self.hidden = nnx.Linear(FREQUENCIES, width, kernel_init=initializers.embedding, rngs=rngs)
        self.output = nnx.Linear(width, width, kernel_init=initializers.embedding, rngs=rngs)

    def __call__(self, timesteps: Num[Array | np.ndarray, "b"]) -> Float[Array, "b width"]:
        """Returns one vector for each timestep."""
        return self.output(jax.nn.silu(self.hidden(self.features(timesteps))))
