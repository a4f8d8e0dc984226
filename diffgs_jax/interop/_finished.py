"""Gaussians as files want them, on the host, one set, finite, rotations of unit length; and as they come from files."""

import os
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Gaussians

LARGEST_COUNT = 10_000_000
"""Gaussians of one file that are read, as many as .spz holds; at degree 3 they take 2.4 GB."""

_COLORS = (1, 4, 9, 16)  # of SH degree 0 to 3


class Finished(NamedTuple):
    """The leaves of `Gaussians`, float64, `[n, …]`."""

    means: Float[np.ndarray, "n 3"]
    rotations: Float[np.ndarray, "n 4"]
    scales: Float[np.ndarray, "n 3"]
    opacities: Float[np.ndarray, "n"]
    sh: Float[np.ndarray, "n k 3"]


def finished(path: str | os.PathLike[str], gaussians: Gaussians) -> Finished:
    """Returns Gaussians ready to be packed, with unit quaternions (the identity for those of no length).

    Args:
        path: the file they are for, named in errors.
        gaussians: without batch axes, SH degree 0 to 3.

    Raises:
        DataError: if a value is not finite.
    """
    means, rotations, scales, opacities, sh = (np.asarray(leaf, np.float64) for leaf in gaussians)
    if means.ndim != 2 or sh.shape[-2] not in _COLORS:
        raise ValueError(f"expected one set of Gaussians of degree 0 to 3, got means {means.shape} and sh {sh.shape}")
    for name, leaf in zip(gaussians._fields, (means, rotations, scales, opacities, sh), strict=True):
        if broken := int(np.size(leaf) - np.isfinite(leaf).sum()):
            raise DataError(f"{broken} values of the Gaussians' {name} are not finite; {path} was not written")
    length = np.linalg.norm(rotations, axis=-1, keepdims=True)
    rotations = np.where(length > 1e-12, rotations / np.maximum(length, 1e-12), [[1.0, 0.0, 0.0, 0.0]])
    return Finished(means, rotations, scales, opacities, sh)


def empty_gaussians(count: int, coefficients: int) -> Gaussians:
    """Returns float32 arrays to be filled, `[count, …]`.

    Args:
        count: of the Gaussians.
        coefficients: (SH degree + 1)².
    """
    shapes = [(count, 3), (count, 4), (count, 3), (count,), (count, coefficients, 3)]
    return Gaussians(*(np.empty(shape, np.float32) for shape in shapes))


def all_finite(gaussians: Gaussians, name: str) -> Gaussians:
    """Returns Gaussians that came from a file.

    Raises:
        DataError: if a number is not finite, in float32.
    """
    for leaf_name, leaf in zip(gaussians._fields, gaussians, strict=True):
        if broken := sum(int(np.size(part) - np.isfinite(part).sum()) for part in np.array_split(leaf, 16)):
            raise DataError(f"{name} is damaged: {broken} values of the Gaussians' {leaf_name} are not finite")
    return gaussians
