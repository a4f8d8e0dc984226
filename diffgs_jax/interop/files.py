"""Splats to and from files of any kind: the suffix says which."""

import os
from pathlib import Path

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop.gltf_splats import read_gltf_splats, write_gltf_splats
from diffgs_jax.interop.ply import read_ply, write_ply
from diffgs_jax.interop.splat import read_splat, write_splat
from diffgs_jax.interop.splat_transform import converted_suffix, read_converted, write_converted
from diffgs_jax.interop.spz import read_spz, write_spz

SPLAT_SUFFIXES = (".ply", ".spz", ".splat", ".sog")
"""Suffixes that only splats have, as `write_gaussians` and `read_gaussians` know them; `.compressed.ply` is a .ply by
its last one, and `.glb` is a mesh's as well."""


def write_gaussians(path: str | os.PathLike[str], gaussians: Gaussians, *, raw: bool = False) -> int:
    """Writes one set of Gaussians in the format that the suffix names.

    `.ply` keeps everything and is the largest; `.spz` is a quarter of it and keeps what can be seen; `.splat` keeps one
    colour for each Gaussian; `.glb` is glTF with KHR_gaussian_splatting, as large as a .ply. `.compressed.ply` and
    `.sog` need splat-transform. All but `.glb`, whose y is up, hold the same numbers for the same place: the object
    frame's, z up.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        gaussians: without batch axes, `[n, …]`, SH degree 0 to 3.
        raw: keep the lengths of quaternions, which `.ply` alone can.

    Returns:
        The number of Gaussians written.

    Raises:
        UserError: if the suffix is of no known format, or not `.ply` for raw ones, the file cannot be written, or a
            program is not installed.
        DataError: if a value is not finite, or too large for the format.
    """
    suffix = _suffix(path)
    if raw and (suffix != ".ply" or converted_suffix(path)):
        raise UserError(f"only a plain .ply keeps raw quaternions, and {path} is none")
    if converted_suffix(path):
        return write_converted(path, gaussians)
    match suffix:
        case ".gltf":
            raise UserError(f"{path} cannot be written: Gaussians leave as .glb, one file")
        case ".ply":
            return write_ply(path, gaussians, raw=raw)
        case ".spz":
            return write_spz(path, gaussians)
        case ".glb":
            return write_gltf_splats(path, gaussians)
        case _:
            return write_splat(path, gaussians)


def read_gaussians(path: str | os.PathLike[str]) -> Gaussians:
    """Reads a splat of any format that `write_gaussians` writes, whoever wrote it.

    Returns:
        Float32 numpy Gaussians `[n, …]`, activations applied.

    Raises:
        UserError: if the suffix is of no known format, the file is missing or cannot be read, or a program is not
            installed.
        DataError: if it is truncated, corrupt, or not what its suffix says.
    """
    if converted_suffix(path):
        return read_converted(path)
    match _suffix(path):
        case ".ply":
            return read_ply(path)
        case ".spz":
            return read_spz(path)
        case ".glb" | ".gltf":
            return read_gltf_splats(path)
        case _:
            return read_splat(path)


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in (*SPLAT_SUFFIXES, ".glb", ".gltf"):
        raise UserError(f"{path} has no suffix of a splat: use {', '.join((*SPLAT_SUFFIXES, '.glb'))}")
    return suffix
