"""How the weights of a network start."""

import itertools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import PRNGKeyArray

Scheme = Literal["gated", "published"]
"""`gated` starts every residual branch at zero; `published` draws every kernel from a normal of std 0.02."""


class Initializers(NamedTuple):
    """Initialisers by the role of a kernel; biases always start at zero.

    Attributes:
        linear: projections inside a block, patch embedding.
        modulation: projections of the timestep to adaLN shifts, scales and gates.
        embedding: learned tokens and the timestep's MLP.
        output: the last projection, to what the network predicts.
    """

    linear: Initializer
    modulation: Initializer
    embedding: Initializer
    output: Initializer


def initializers(scheme: Scheme) -> Initializers:
    """Returns the initialisers of a scheme.

    `gated` is adaLN-Zero (DiT, Peebles and Xie 2023, section 3.2): Xavier-uniform projections and zero modulation, so
    a block starts as the identity whatever the depth and the width, and opens its gates as far as the gradient asks.
    The output has variance (0.1)² for a normalised input: small beside the offsets of its activations, but not zero,
    since quaternions have no direction at zero.
    """
    if scheme == "published":
        normal = jax.nn.initializers.normal(0.02)
        return Initializers(normal, normal, normal, normal)
    return Initializers(
        linear=jax.nn.initializers.xavier_uniform(),
        modulation=jax.nn.initializers.zeros,
        embedding=jax.nn.initializers.normal(0.02),
        output=jax.nn.initializers.variance_scaling(0.01, "fan_in", "normal"),
    )


def uniform_bounds() -> Initializers:
    """Returns initialisers that set each kernel to a constant: how far from zero `draw_uniform` may draw it.

    Kernels get the variance 2 / (inputs + outputs) of Glorot & Bengio 2010, and the last
    kernel of every residual branch and of the network is zero, as in the published code of Ho et al. 2020: so a branch
    starts as the identity and the network's output as zero.
    """

    def glorot(key: Any, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Any:
        fan = math.prod(shape[:-2]) * (shape[-2] + shape[-1])
        return jnp.full(shape, math.sqrt(6 / fan), jnp.float32 if dtype is None else dtype)

    return Initializers(linear=glorot, modulation=glorot, embedding=glorot, output=jax.nn.initializers.zeros)


def draw_uniform(bounds: dict[str, Any], key: PRNGKeyArray) -> dict[str, Any]:
    """Returns parameters whose kernels and embeddings are drawn between −bound and bound.

    They are cut out of one draw: a program with a draw for each kernel of a U-Net takes a minute to compile.

    Args:
        bounds: parameters of a network made with `uniform_bounds`.
        key: of the draw.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(bounds)
    sizes = [leaf.size if path[-1].key in ("kernel", "embedding") else 0 for path, leaf in leaves]
    numbers = jax.random.uniform(key, (sum(sizes),), minval=-1.0, maxval=1.0)
    pieces = jnp.split(numbers, list(itertools.accumulate(sizes[:-1])))
    drawn = [
        leaf * piece.reshape(leaf.shape) if piece.size else leaf
        for (_, leaf), piece in zip(leaves, pieces, strict=True)
    ]
    return jax.tree_util.tree_unflatten(structure, drawn)
