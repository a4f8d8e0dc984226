"""Gaussians to and from the .ply file that 3DGS viewers read (the layout of Kerbl et al. 2023).

One `vertex` element, binary little endian, every property a float32: x y z, unused normals nx ny nz, f_dc_0..2,
f_rest_* (channel by channel, absent at degree 0), opacity (a logit), scale_0..2 (logarithms), rot_0..3 (quaternion
wxyz).
"""

import math
import os

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError
from diffgs_jax.files import open_regular, shown
from diffgs_jax.files.atomic import written_beside
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop._finished import LARGEST_COUNT, all_finite, empty_gaussians, finished
from diffgs_jax.interop._ply_tables import Table, read_header, read_rows

_SMALLEST_OPACITY = 1e-6  # a logit of ±13.8: what is exactly 0 or 1 has none
_SMALLEST_SCALE = 1e-12
_REST_COUNTS = (0, 9, 24, 45)  # 3 channels × ((degree + 1)² − 1)


def write_ply(path: str | os.PathLike[str], gaussians: Gaussians, *, raw: bool = False) -> int:
    """Writes one set of Gaussians as a .ply that 3DGS viewers read.

    Opacities of exactly 0 and 1 are stored as the nearest finite logits, zero scales as 1e-12, rotations as unit
    quaternions (not every viewer normalises them) unless they are raw.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        gaussians: without batch axes, `[n, …]`, SH degree 0 to 3.
        raw: keep the lengths of quaternions.

    Returns:
        The number of Gaussians written.

    Raises:
        DataError: if a value is not finite.
        UserError: if the file cannot be written.
    """
    means, rotations, scales, opacities, sh = finished(path, gaussians)
    rotations = np.asarray(gaussians.rotations, np.float64) if raw else rotations
    probability = np.clip(opacities, _SMALLEST_OPACITY, 1 - _SMALLEST_OPACITY)
    rest = np.swapaxes(sh[:, 1:], 1, 2).reshape(len(means), 3 * (sh.shape[1] - 1))
    columns = [
        *(means, np.zeros_like(means), sh[:, 0], rest),
        np.log(probability / (1 - probability))[:, None],
        *(np.log(np.maximum(scales, _SMALLEST_SCALE)), rotations),
    ]
    table = np.concatenate(columns, axis=1).astype("<f4")
    header = [
        *("ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"),
        *(f"property float {name}" for name in _property_names(rest.shape[1])),
        "end_header",
    ]
    with written_beside(path) as beside, beside.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode("ascii"))
        file.write(table.tobytes())
    return len(table)


def read_ply(path: str | os.PathLike[str]) -> Gaussians:
    """Reads a 3DGS .ply, whatever the order of its properties and whatever others it has.

    Binary of either byte order, or text, with at most 10 million Gaussians. Takes as much memory as the result, at most
    236 bytes for each Gaussian, and 100 MB. Opacities whose logits are infinite become 0 and 1, scales whose logarithm
    is −∞ become 0; everything else must be finite.

    Mip-Splatting (Yu et al. 2024, section 4.1) keeps the smoothing filter of each Gaussian as `filter_3D` beside what
    was trained; it is applied here: s' = √(s² + f²) and o' = o·√(∏s²/∏s'²).

    Returns:
        Float32 numpy Gaussians `[n, …]`, activations applied.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is truncated, not a 3DGS .ply of SH degree 0 to 3, too large, or has numbers that are not
            finite.
    """
    name = shown(path)
    with open_regular(path) as opened:
        table = read_header(opened, name)
        rest = _count_rest(table, name)
        if table.count > LARGEST_COUNT:
            raise DataError(f"{name} announces {table.count} Gaussians; at most {LARGEST_COUNT} are read")
        leaves = empty_gaussians(table.count, coefficients=1 + rest // 3)
        begin = 0
        for columns in read_rows(opened, table, name):
            part = _activated(columns, rest)
            end = begin + len(part.opacities)
            for leaf, values in zip(leaves, part, strict=True):
                with np.errstate(over="ignore"):
                    leaf[begin:end] = values
            begin = end
    return all_finite(leaves, name)


def _count_rest(table: Table, name: str) -> int:
    """Returns how many higher harmonics there are, all channels together."""
    rest = sum(column.startswith("f_rest_") for column in table.names)
    missing = [column for column in _property_names(rest) if column not in table.names and column[0] != "n"]
    degree = math.isqrt(rest // 3 + 1) - 1
    if not missing and rest == 3 * ((degree + 1) ** 2 - 1) and degree > 3:
        raise DataError(f"{name} has spherical harmonics of degree {degree}; degrees 0 to 3 can be read")
    if missing or rest not in _REST_COUNTS:
        lacks = ", ".join(missing[:12]) + ", …" * (len(missing) > 12)
        raise DataError(f"{name} is not a 3DGS .ply: it lacks {lacks or 'some f_rest properties'}")
    return rest


def _activated(table: dict[str, np.ndarray], rest: int) -> Gaussians:
    """Returns some rows as Gaussians, float64."""

    def columns(*names: str) -> Float[np.ndarray, "n c"]:
        return np.stack([table[name].astype(np.float64) for name in names], axis=-1)

    count = len(table["x"])
    others = columns(*(f"f_rest_{i}" for i in range(rest))) if rest else np.zeros((count, 0))
    with np.errstate(over="ignore"):
        scales = np.exp(columns("scale_0", "scale_1", "scale_2"))
    opacities = 0.5 + 0.5 * np.tanh(0.5 * columns("opacity")[:, 0])  # the sigmoid that cannot overflow
    if "filter_3D" in table:
        with np.errstate(over="ignore", invalid="ignore"):
            smoothed = np.hypot(scales, columns("filter_3D"))
            opacities = opacities * np.prod(
                np.divide(scales, smoothed, out=np.ones_like(scales), where=smoothed > 0), -1
            )
        scales = smoothed
    return Gaussians(
        means=columns("x", "y", "z"),
        rotations=columns("rot_0", "rot_1", "rot_2", "rot_3"),
        scales=scales,
        opacities=opacities,
        sh=np.concatenate(
            [
                columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None],
                np.swapaxes(others.reshape(count, 3, rest // 3), 1, 2),
            ],
            axis=1,
        ),
    )


def _property_names(rest: int) -> list[str]:
    return [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(rest)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
