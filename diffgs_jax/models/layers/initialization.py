"""How the weights of a transformer start."""

from typing import Literal, NamedTuple

import jax
from jax.nn.initializers import Initializer

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
