"""3D Gaussians as one value, and what their parameters mean (3DGS, Kerbl et al. 2023)."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
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

    One shorter than 1e-12 becomes the identity and has zero gradient, so that no input makes a NaN.
    """
    return jnp.stack([jnp.stack(row, axis=-1) for row in _rotation_entries(_components(quaternions))], axis=-2)


def covariances(
    rotations: Float[Array, "*batch n 4"], scales: Float[Array, "*batch n 3"], *, unit: bool = True
) -> Float[Array, "*batch n 3 3"]:
    """Returns Σ = R S Sᵀ Rᵀ (3DGS eq. 6), world units squared.

    Args:
        rotations: quaternions wxyz of any length.
        scales: standard deviations along the rotated axes, world units.
        unit: as for `principal_axes`.
    """
    entry = covariance_entries(_components(rotations), _components(scales), unit=unit)
    rows = [jnp.stack([entry[min(i, j), max(i, j)] for j in range(3)], axis=-1) for i in range(3)]
    return jnp.stack(rows, axis=-2)


def covariance_entries(
    rotations: Sequence[Float[Array, "*batch"]], scales: Sequence[Float[Array, "*batch"]], *, unit: bool = True
) -> dict[tuple[int, int], Float[Array, "*batch"]]:
    """Returns entries (row, column) of the upper triangles of `covariances`.

    Args:
        rotations: w, x, y, z.
        scales: along the three axes.
        unit: as for `principal_axes`.
    """
    factor = _scaled_entries(rotations, scales, unit)
    return {
        (i, j): functools.reduce(jnp.add, (factor[i][k] * factor[j][k] for k in range(3)))
        for i in range(3)
        for j in range(i, 3)
    }


def principal_axes(
    rotations: Float[Array, "*batch n 4"], scales: Float[Array, "*batch n 3"], *, unit: bool = True
) -> Float[Array, "*batch n 3 3"]:
    """Returns the columns of R S, whose squares add up to the covariance R S Sᵀ Rᵀ.

    Args:
        rotations: quaternions wxyz of any length.
        scales: standard deviations along the rotated axes, world units.
        unit: normalise the quaternions. Otherwise R is what the formula makes of each as it is, |q|² of the rotation
            and 1 − |q|² of the identity: what renderers compute that trust their input to be normalised.
    """
    entries = _scaled_entries(_components(rotations), _components(scales), unit)
    return jnp.stack([jnp.stack(row, axis=-1) for row in entries], axis=-2)


def with_unit_rotations(gaussians: Gaussians) -> Gaussians:
    """Returns Gaussians with unit quaternions that look as these do where quaternions are taken as they are.

    Rotations and scales become the principal axes of the covariances of `principal_axes(unit=False)`. Those of unit
    quaternions, up to rounding, stay what they are.

    Args:
        gaussians: `[*batch, n]`, on the host.
    """
    rotations, scales = (np.asarray(leaf, np.float64) for leaf in (gaussians.rotations, gaussians.scales))
    is_off = np.abs(np.linalg.norm(rotations, axis=-1) - 1) > 1e-6
    if not is_off.any():
        return gaussians
    w, x, y, z = (rotations[is_off][:, i] for i in range(4))
    factor = np.moveaxis(np.asarray(_entries(w, x, y, z)), -1, 0) * scales[is_off][:, None]
    axes, deviations, _ = np.linalg.svd(factor)
    axes[..., 2] *= np.linalg.det(axes)[:, None]  # a reflected axis is the same axis
    from scipy.spatial.transform import Rotation  # half a second of processor time, which settings need not spend

    quaternions = np.roll(Rotation.from_matrix(axes).as_quat(), 1, axis=-1)
    rotations, scales = np.array(gaussians.rotations, np.float32), np.array(gaussians.scales, np.float32)
    rotations[is_off], scales[is_off] = quaternions, deviations
    return gaussians._replace(rotations=rotations, scales=scales)


def _components(values: Array) -> list[Array]:
    return [values[..., i] for i in range(values.shape[-1])]


def _scaled_entries(rotations: Sequence[Array], scales: Sequence[Array], unit: bool) -> list[list[Array]]:
    # Written out by component: XLA has no good way with many 3×3 products, and may take them in TF32 on a GPU.
    entries = _rotation_entries(rotations) if unit else _entries(*rotations)
    return [[row[k] * scales[k] for k in range(3)] for row in entries]


def _rotation_entries(components: Sequence[Float[Array, "*batch"]]) -> list[list[Float[Array, "*batch"]]]:
    """Returns the entries of the rotation matrices, row by row."""
    # Divided by the largest component first, so that no square overflows or vanishes. What is divided by has no
    # gradient, because the length of the quotient is divided out again.
    largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, map(jnp.abs, components)))
    is_degenerate = largest < 1e-12
    largest = jnp.where(is_degenerate, 1.0, largest)
    w, x, y, z = (value / largest for value in components)
    inverse = 1.0 / jnp.sqrt(jnp.where(is_degenerate, 1.0, w * w + x * x + y * y + z * z))
    unit = (jnp.where(is_degenerate, float(i == 0), value * inverse) for i, value in enumerate((w, x, y, z)))
    return _entries(*unit)


def _entries(
    w: Array | np.ndarray, x: Array | np.ndarray, y: Array | np.ndarray, z: Array | np.ndarray
) -> list[list[Any]]:
    return [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
