"""Gaussians to and from .splat, the layout of antimatter15's web viewer: 32 bytes each, without a header.

Position and scales as six float32 (scales as they are, not logarithms), then bytes: red, green, blue and opacity over
[0, 1], and the unit quaternion wxyz as 128 + 128·q. Colour is the harmonics' constant part; the others are lost. Axes
are those of the .ply.
"""

import os

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.errors import DataError
from diffgs_jax.files import read_regular, shown
from diffgs_jax.files.atomic import written_beside
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop._finished import LARGEST_COUNT, finished

_RECORD: np.dtype = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("rotation", "u1", 4)])
_Y00 = 0.5 / np.sqrt(np.pi)  # the constant harmonic
_SMALLEST_SCALE = 1e-12  # readers take the logarithm


def write_splat(path: str | os.PathLike[str], gaussians: Gaussians) -> int:
    """Writes one set of Gaussians as .splat, in their order.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        gaussians: without batch axes, `[n, …]`, SH degree 0 to 3 (the colour seen from all sides is kept).

    Returns:
        The number of Gaussians written.

    Raises:
        DataError: if a value is not finite.
        UserError: if the file cannot be written.
    """
    means, rotations, scales, opacities, sh = finished(path, gaussians)
    table = np.zeros(len(means), _RECORD)
    table["mean"], table["scale"] = means, np.maximum(scales, _SMALLEST_SCALE)
    table["color"] = _bytes(255 * np.concatenate([0.5 + _Y00 * sh[:, 0], opacities[:, None]], axis=1))
    table["rotation"] = _bytes(128 + 128 * rotations)
    with written_beside(path) as beside:
        beside.write_bytes(table.tobytes())
    return len(table)


def read_splat(path: str | os.PathLike[str]) -> Gaussians:
    """Reads a .splat of at most 10 million Gaussians, which takes 32 bytes for each and 56 for the result.

    Returns:
        Float32 numpy Gaussians `[n, …]` of SH degree 0.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is truncated, too large, or not a .splat: the layout has no mark of its own, so numbers that
            cannot be positions and scales tell.
    """
    name = shown(path)
    content = read_regular(path, limit=LARGEST_COUNT * _RECORD.itemsize)
    if len(content) % _RECORD.itemsize:
        raise DataError(f"{name} is truncated or not a .splat: {len(content)} bytes are not a multiple of 32")
    table = np.frombuffer(content, _RECORD)
    means, scales = table["mean"].astype(np.float32), table["scale"].astype(np.float32)
    if not (np.isfinite(means).all() and np.isfinite(scales).all() and (scales >= 0).all()):
        raise DataError(f"{name} is corrupt or not a .splat: some positions or scales are not numbers")
    levels = np.arange(256)  # a byte becomes a number through a table, which needs no memory of its own
    return Gaussians(
        means=means,
        rotations=((levels - 128.0) / 128.0).astype(np.float32)[table["rotation"]],
        scales=scales,
        opacities=(levels / 255.0).astype(np.float32)[table["color"][:, 3]],
        sh=((levels / 255.0 - 0.5) / _Y00).astype(np.float32)[table["color"][:, None, :3]],
    )


def _bytes(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
