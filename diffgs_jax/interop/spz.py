"""Gaussians to and from .spz, Niantic's compressed format (MIT-licensed specification: github.com/nianticlabs/spz).

A gzip stream: a header of 16 bytes, then every Gaussian's position, then every one's opacity, colour, scale, rotation
and higher harmonics. Written as version 3, read as version 2 or 3; version 4 is another container.

Axes: the file's are right, up, back, while a 3DGS .ply is taken to be right, down, front. So that our .ply and our .spz
open the same way everywhere, the numbers of the object frame are the .ply's, and the .spz's are those turned by 180°
about x.
"""

import gzip
import os
import struct
import zlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.errors import DataError
from diffgs_jax.files import one_line, read_regular, shown, shown_size
from diffgs_jax.files.atomic import written_beside
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop._finished import LARGEST_COUNT, empty_gaussians, finished

_HEADER = struct.Struct("<4sIIBBBB")  # magic, version, count, SH degree, fractional bits, flags, reserved
_MAGIC = b"NGSP"
_WRITTEN_VERSION = 3
_LARGEST_FILE = 2**30  # bytes
_LEAST_UNPACKED = 2**25  # bytes that any file may unpack to
_RATIO = 8  # bytes that each byte of a larger one may unpack to; a scene's are two to four
_BLOCK = 2**16  # Gaussians that are unpacked at a time
_FRACTIONAL_BITS = 12  # a step of 0.00024 world units, a reach of ±2048
_LARGEST_POSITION = 2**23 - 1  # 24 bits with a sign
_COLOR_SCALE = 0.15  # a byte holds DC coefficients of ±1/0.3, wider than colours need, for harmonics to bring back
_TURN = np.asarray([1.0, -1.0, -1.0])  # of axes, and of a quaternion's x, y, z

# Which higher harmonics change sign when the axes turn by 180° about x: those that are odd in y and z together.
_SH_TURN = np.asarray([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float64)


def write_spz(path: str | os.PathLike[str], gaussians: Gaussians) -> int:
    """Writes one set of Gaussians as .spz version 3; the same Gaussians give the same bytes.

    What the format keeps: positions to 2⁻¹³ world units (coarser where they reach beyond ±2048), opacities and colours
    to 1/510 and 1/77 of a coefficient, scales to 3 % between e⁻¹⁰ and e⁵·⁹, rotations to 0.2°, higher harmonics within
    ±1 to 1/64 (degree 1) or 1/32: the rounding that the specification recommends.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        gaussians: without batch axes, `[n, …]`, SH degree 0 to 3.

    Returns:
        The number of Gaussians written.

    Raises:
        DataError: if a value is not finite or too large for the format.
        UserError: if the file cannot be written.
    """
    means, rotations, scales, opacities, sh = finished(path, gaussians)
    count, degree = len(means), int(np.sqrt(sh.shape[1])) - 1
    if count > LARGEST_COUNT:
        raise DataError(f"{path} was not written: .spz holds {LARGEST_COUNT} Gaussians, not {count}; prune some first")
    reach = float(np.abs(means).max(initial=0.0))
    bits = next((bits for bits in range(_FRACTIONAL_BITS, -1, -1) if reach * 2**bits <= _LARGEST_POSITION), None)
    if bits is None:
        raise DataError(f"{path} was not written: a Gaussian lies {reach:.3g} world units away, .spz ends at 8388607")
    positions = np.round(means * _TURN * 2**bits).astype("<i4").view(np.uint8).reshape(count, 3, 4)[..., :3]
    steps = np.asarray([8] * 3 + [16] * 12)[: sh.shape[1] - 1, None]  # coarser steps compress better
    rest = np.round(sh[:, 1:] * _SH_TURN[: sh.shape[1] - 1, None] * 128.0) + 128.0
    parts = [
        positions,
        _bytes(opacities * 255.0),
        _bytes((sh[:, 0] * _COLOR_SCALE + 0.5) * 255.0),
        _bytes((np.log(np.maximum(scales, 1e-12)) + 10.0) * 16.0),
        _smallest_three(rotations).view(np.uint8),
        _bytes((rest + steps // 2) // steps * steps),
    ]
    header = _HEADER.pack(_MAGIC, _WRITTEN_VERSION, count, degree, bits, 0, 0)
    content = header + b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    with written_beside(path) as beside:
        beside.write_bytes(gzip.compress(content, mtime=0))
    return count


def read_spz(path: str | os.PathLike[str]) -> Gaussians:
    """Reads an .spz of version 2 or 3; a file's extensions are passed over.

    Never unpacks more than its header announces, nor more than eight times the file's own size (or 32 MiB), which no
    scene comes near: a small file cannot fill the memory. Takes what is unpacked, the result of at most 236 bytes for
    each Gaussian, and 100 MB.

    Returns:
        Float32 numpy Gaussians `[n, …]`, activations applied, in the axes that `write_spz` takes.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is truncated, corrupt, too large, or not an .spz of these versions.
    """
    name = shown(path)
    packed = read_regular(path, limit=_LARGEST_FILE)
    if packed[:4] == _MAGIC:
        raise DataError(f"{name} is an .spz of version 4 or newer, which cannot be read; save it as version 3")
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    header = _inflate(name, stream.decompress, packed, _HEADER.size)
    if header[:4] != _MAGIC or len(header) < _HEADER.size:
        raise DataError(f"{name} is not an .spz file")
    _, version, count, degree, bits, _, _ = _HEADER.unpack(header)
    if version not in (2, 3):
        raise DataError(f"{name} is an .spz of version {version}; versions 2 and 3 can be read")
    if count > LARGEST_COUNT or degree > 3 or bits > 23:
        raise DataError(
            f"{name} is corrupt or too large: its header announces {count} Gaussians of SH degree {degree}, "
            f"{bits} fractional bits"
        )
    sizes = [9, 1, 3, 3, version + 1, 3 * ((degree + 1) ** 2 - 1)]  # bytes a Gaussian: a rotation has 3, or 4 since 3
    size = count * sum(sizes)
    if size > max(_LEAST_UNPACKED, _RATIO * len(packed)):
        raise DataError(
            f"{name} is corrupt or made to fill the memory: {shown_size(len(packed))} announce {shown_size(size)}"
        )
    content = _inflate(name, stream.decompress, stream.unconsumed_tail, size)
    more = _inflate(name, stream.decompress, stream.unconsumed_tail, 1)  # to the stream's end, where its checksum is
    if len(content) < size or not (more or stream.eof):
        raise DataError(f"{name} is truncated: its header announces {count} Gaussians, not all are there")
    if stream.unused_data.strip(b"\0"):
        raise DataError(f"{name} is corrupt: something else follows after its end")
    edges = np.cumsum([0, *sizes]) * count
    fields = [
        np.frombuffer(content, np.uint8, end - start, start).reshape(count, width)
        for start, end, width in zip(edges, edges[1:], sizes, strict=False)
    ]
    leaves = empty_gaussians(count, coefficients=(degree + 1) ** 2)
    for begin in range(0, count, _BLOCK):
        part = _unpacked(*(field[begin : begin + _BLOCK] for field in fields), version=version, bits=bits)
        for leaf, values in zip(leaves, part, strict=True):
            leaf[begin : begin + _BLOCK] = values
    return leaves


def _unpacked(
    positions: UInt8[np.ndarray, "n 9"],
    alphas: UInt8[np.ndarray, "n 1"],
    colors: UInt8[np.ndarray, "n 3"],
    scales: UInt8[np.ndarray, "n 3"],
    rotations: UInt8[np.ndarray, "n r"],
    rest: UInt8[np.ndarray, "n c"],
    *,
    version: int,
    bits: int,
) -> Gaussians:
    """Returns some Gaussians, float64."""
    count, others = len(alphas), rest.shape[1] // 3
    padded = np.concatenate([np.zeros((count, 3, 1), np.uint8), positions.reshape(count, 3, 3)], axis=-1)
    fixed = padded.view("<i4")[..., 0] >> 8  # the sign comes along when the low byte is shifted out
    unpack = _unpack_smallest_three if version == 3 else _unpack_first_three
    dc = (colors / 255.0 - 0.5) / _COLOR_SCALE
    higher = (rest.reshape(count, others, 3) - 128.0) / 128.0 * _SH_TURN[:others, None]
    return Gaussians(
        means=fixed * 2.0**-bits * _TURN,
        rotations=unpack(rotations) * [1.0, *_TURN],
        scales=np.exp(scales / 16.0 - 10.0),
        opacities=alphas[:, 0] / 255.0,
        sh=np.concatenate([dc[:, None], higher], axis=1),
    )


def _bytes(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def _smallest_three(quaternions: Float[np.ndarray, "n 4"]) -> np.ndarray:
    """Packs unit quaternions wxyz into one word each, `[n, 1]`.

    Of (x, y, z, w) the largest is left out, made positive by the quaternion's sign. Its index takes the two highest
    bits; each of the others ten: a sign and nine bits of its magnitude over √½, which it cannot exceed.
    """
    turned = (quaternions * [1.0, *_TURN])[:, [1, 2, 3, 0]]
    largest = np.abs(turned).argmax(axis=1)
    rows = np.arange(len(turned))
    turned = turned * np.where(turned[rows, largest] < 0, -1.0, 1.0)[:, None]
    magnitudes = np.floor(np.abs(turned) * np.sqrt(2.0) * 511 + 0.5).clip(0, 511).astype(np.uint32)
    fields = (turned < 0).astype(np.uint32) << np.uint32(9) | magnitudes
    words = largest.astype(np.uint32)
    for column in range(4):
        words = np.where(largest == column, words, words << np.uint32(10) | fields[:, column])
    return words.astype("<u4")[:, None]


def _unpack_smallest_three(packed: UInt8[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    words = np.ascontiguousarray(packed).view("<u4")[:, 0]
    largest = words >> 30
    turned = np.zeros((len(words), 4))
    for column in (3, 2, 1, 0):
        is_stored = largest != column
        value = (words & 511) / 511.0 * np.sqrt(0.5) * np.where(words & 512, -1.0, 1.0)
        turned[:, column] = np.where(is_stored, value, 0.0)
        words = np.where(is_stored, words >> np.uint32(10), words)
    rest = np.sqrt(np.maximum(0.0, 1.0 - np.sum(turned**2, axis=1)))
    turned[np.arange(len(words)), largest] = rest
    return turned[:, [3, 0, 1, 2]]


def _unpack_first_three(packed: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Version 2: x, y, z as bytes over [−1, 1]; w is not negative, so that it need not be stored."""
    xyz = packed / 127.5 - 1.0
    w = np.sqrt(np.maximum(0.0, 1.0 - np.sum(xyz**2, axis=1, keepdims=True)))
    return np.concatenate([w, xyz], axis=1)


def _inflate(name: str, decompress: Callable[[bytes, int], bytes], packed: bytes, size: int) -> bytes:
    """Returns the next `size` bytes of a stream, fewer if it ends."""
    if not size:
        return b""
    try:
        return decompress(packed, size)
    except zlib.error as error:
        raise DataError(f"{name} is not an .spz file, or is corrupt: {one_line(error)}") from None
