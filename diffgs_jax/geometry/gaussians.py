"""3D Gaussians as one value, and what their parameters mean (3DGS, Kerbl et al. 2023)."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Gaussians(NamedTuple):
    """Any number of sets of 3D Gaussians, with their activations applied.

    Attributes:
        means: `[*batch, n, 3]`, world units.
        rotations: `[*batch, n, 4]` quaternions wxyz of any length (normalised where used).
        scales: `[*batch, n, 3]` standard deviations along the rotated axes, world units, ≥ 0.
        opacities: `[*batch, n]` in [0, 1].
        sh: `[*batch, n, k, 3]` spherical-harmonic colours, k = (degree + 1)²; colour = max(0, 0.5 + Σ sh·Y).
    """

    means: Float[Array | np.ndarray, "*batch n 3"]
    rotations: Float[Array | np.ndarray, "*batch n 4"]
    scales: Float[Array | np.ndarray, "*batch n 3"]
    opacities: Float[Array | np.ndarray, "*batch n"]
    sh: Float[Array | np.ndarray, "*batch n k 3"]


def rotation_matrices(quaternions: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3 3"]:
    """Turns quaternions wxyz of any length into rotation matrices.

    A zero-length quaternion becomes the identity and has zero gradient, so that no input makes a NaN.
    """
    squared = jnp.sum(quaternions**2, axis=-1, keepdims=True)
    degenerate = squared < 1e-24
    unit = quaternions / jnp.sqrt(jnp.where(degenerate, 1.0, squared))
    unit = jnp.where(degenerate, jnp.asarray([1.0, 0.0, 0.0, 0.0], unit.dtype), unit)
    w, x, y, z = jnp.moveaxis(unit, -1, 0)
    return jnp.stack(
        [
            jnp.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            jnp.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            jnp.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        -2,
    )


def covariances(
    rotations: Float[Array, "*batch n 4"], scales: Float[Array, "*batch n 3"]
) -> Float[Array, "*batch n 3 3"]:
    """Returns Σ = R S Sᵀ Rᵀ (3DGS eq. 6), world units squared."""
    factor = rotation_matrices(rotations) * scales[..., None, :]
    return jnp.einsum("...ij,...kj->...ik", factor, factor)
