"""Gaussians to and from .spz, Niantic's compressed format (MIT-licensed specification: github.com/nianticlabs/spz).

Every Gaussian's position, then every one's opacity, colour, scale, rotation and higher harmonics, all as bytes. In
version 4, what the reference packer writes since 2026, each is a zstd stream of its own; in versions 2 and 3 all are
one gzip stream.

Axes: the specification names right, up, back, and its packer stores what it is given as it is unless told otherwise.
So do splat-transform, SuperSplat and three.js, which read a .ply and an .spz alike; hence the numbers here are those of
our .ply, the object frame's.
"""

import os
from typing import Literal

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import read_regular, shown
from diffgs_jax.files.atomic import written_beside
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop._finished import LARGEST_COUNT, finished
from diffgs_jax.interop._spz_attributes import packed, unpacked
from diffgs_jax.interop._spz_containers import OBJECT_AXES, pack_container, read_container

SpzVersion = Literal[2, 3, 4]
"""Versions that are written."""

_LARGEST_FILE = 2**30  # bytes
_FRACTIONAL_BITS = 12  # a step of 0.00024 world units, a reach of ±2048
_LARGEST_POSITION = 2**23 - 1  # 24 bits with a sign


def write_spz(path: str | os.PathLike[str], gaussians: Gaussians, *, version: SpzVersion = 4) -> int:
    """Writes one set of Gaussians as .spz; the same Gaussians give the same bytes.

    What the format keeps: positions to 2⁻¹³ world units (coarser where they reach beyond ±2048), opacities and colours
    to 1/510 and 1/77 of a coefficient, scales to 3 % between e⁻¹⁰ and e⁵·⁹, rotations to 0.2° (version 2: 1°), higher
    harmonics within ±1 to 1/64 (degree 1) or 1/32: the rounding that the specification recommends.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        gaussians: without batch axes, `[n, …]`, SH degree 0 to 3.
        version: 4 is what tools of today write and read (PlayCanvas reads no other); 3 and 2 are for older ones.

    Returns:
        The number of Gaussians written.

    Raises:
        DataError: if a value is not finite or too large for the format.
        UserError: if the file cannot be written.
    """
    ready = finished(path, gaussians)
    count, degree = len(ready.means), int(np.sqrt(ready.sh.shape[1])) - 1
    if count > LARGEST_COUNT:
        raise DataError(f"{path} was not written: .spz holds {LARGEST_COUNT} Gaussians, not {count}; prune some first")
    reach = float(np.abs(ready.means).max(initial=0.0))
    bits = next((bits for bits in range(_FRACTIONAL_BITS, -1, -1) if reach * 2**bits <= _LARGEST_POSITION), None)
    if bits is None:
        raise DataError(f"{path} was not written: a Gaussian lies {reach:.3g} world units away, .spz ends at 8388607")
    fields = packed(ready, version=version, bits=bits, turn=np.asarray(OBJECT_AXES))
    with written_beside(path) as beside:
        beside.write_bytes(pack_container(fields, version=version, degree=degree, bits=bits))
    return count


def read_spz(path: str | os.PathLike[str]) -> Gaussians:
    """Reads an .spz of version 2 to 4.

    Never unpacks more than its header announces, nor more than eight times the file's own size (or 32 MiB), which no
    scene comes near: a small file cannot fill the memory. Takes what is unpacked, the result of at most 236 bytes for
    each Gaussian, and 100 MB.

    Of extensions, the one that names mirrored axes is heeded, others are passed over; so are harmonics of degree 4.

    Returns:
        Float32 numpy Gaussians `[n, …]`, activations applied, in the axes that `write_spz` takes.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is truncated, corrupt, too large, or not an .spz of these versions.
    """
    content = read_regular(path, limit=_LARGEST_FILE)
    version, bits, fields, turn = read_container(shown(path), content)
    return unpacked(fields, version=version, bits=bits, turn=np.asarray(turn))
