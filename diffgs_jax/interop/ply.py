"""Gaussians to and from the .ply file that 3DGS viewers read (the layout of Kerbl et al. 2023).

One `vertex` element, binary little endian, every property a float32: x y z, unused normals nx ny nz, f_dc_0..2,
f_rest_* (channel by channel, absent at degree 0), opacity (a logit), scale_0..2 (logarithms), rot_0..3 (quaternion
wxyz).
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files.atomic import written_beside
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop._finished import finished

_SMALLEST_OPACITY = 1e-6  # a logit of ±13.8: what is exactly 0 or 1 has none
_SMALLEST_SCALE = 1e-12
_REST_COUNTS = (0, 9, 24, 45)  # 3 channels × ((degree + 1)² − 1)
_SCALARS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "<i2", "int16": "<i2", "ushort": "<u2",
    "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4", "float": "<f4", "float32": "<f4",
    "double": "<f8", "float64": "<f8",
}  # fmt: skip


def write_ply(path: str | os.PathLike[str], gaussians: Gaussians) -> int:
    """Writes one set of Gaussians as a .ply that 3DGS viewers read.

    Opacities of exactly 0 and 1 are stored as the nearest finite logits, zero scales as 1e-12, rotations as unit
    quaternions (not every viewer normalises them).

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        gaussians: without batch axes, `[n, …]`, SH degree 0 to 3.

    Returns:
        The number of Gaussians written.

    Raises:
        DataError: if a value is not finite.
        UserError: if the file cannot be written.
    """
    means, rotations, scales, opacities, sh = finished(path, gaussians)
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

    Returns:
        Float32 numpy Gaussians `[n, …]`, activations applied.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is truncated, or not a binary little-endian 3DGS .ply.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    count, layout, start = _parse_header(path, content)
    rest = sum(name.startswith("f_rest_") for name in layout.names or ())
    missing = [name for name in _property_names(rest) if name not in (layout.names or ()) and name[0] != "n"]
    if missing or rest not in _REST_COUNTS:
        raise DataError(f"{path} is not a 3DGS .ply: it lacks {', '.join(missing) or 'some f_rest properties'}")
    if len(content) - start < count * layout.itemsize:
        there = (len(content) - start) // layout.itemsize
        raise DataError(f"{path} is truncated: its header announces {count} Gaussians, {there} are there")
    table = np.frombuffer(content, layout, count, start)

    def columns(*names: str) -> Float[np.ndarray, "n c"]:
        return np.stack([table[name] for name in names], axis=-1).astype(np.float32)

    others = columns(*(f"f_rest_{i}" for i in range(rest))) if rest else np.zeros((count, 0), np.float32)
    sh = np.concatenate(
        [columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None], np.swapaxes(others.reshape(count, 3, rest // 3), 1, 2)], axis=1
    )
    return Gaussians(
        means=columns("x", "y", "z"),
        rotations=columns("rot_0", "rot_1", "rot_2", "rot_3"),
        scales=np.exp(columns("scale_0", "scale_1", "scale_2")),
        opacities=(0.5 + 0.5 * np.tanh(0.5 * columns("opacity")[:, 0])),  # the sigmoid that cannot overflow
        sh=sh,
    )


def _property_names(rest: int) -> list[str]:
    return [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"),
        *(f"f_rest_{i}" for i in range(rest)),
        *("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]


def _parse_header(path: str | os.PathLike[str], content: bytes) -> tuple[int, np.dtype, int]:
    """Returns the number of vertices, their record layout, and where the first one starts."""
    head, mark, _ = content.partition(b"end_header\n")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    if not mark or lines[0] != ["ply"]:
        raise DataError(f"{path} is not a .ply file")
    if ["format", "binary_little_endian", "1.0"] not in lines:
        raise DataError(f"{path} is not a binary little-endian .ply; convert it first")
    elements = [line for line in lines if line[:1] == ["element"]]
    if not elements or elements[0][1:2] != ["vertex"] or not elements[0][-1].isdigit():
        raise DataError(f"{path} is not a 3DGS .ply: its first element is not `vertex`")
    fields = []
    for line in lines[lines.index(elements[0]) + 1 :]:
        if line[:1] == ["element"]:
            break
        if line[:1] == ["property"]:
            if len(line) != 3 or line[1] not in _SCALARS:
                raise DataError(f"{path} is not a 3DGS .ply: property {' '.join(line[1:])} is not a number")
            fields.append((line[2], _SCALARS[line[1]]))
    if len(dict(fields)) != len(fields):
        raise DataError(f"{path} is not a 3DGS .ply: a property appears twice")
    return int(elements[0][-1]), np.dtype(fields), len(head) + len(mark)
