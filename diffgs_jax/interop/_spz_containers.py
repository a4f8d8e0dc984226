"""The two containers of .spz: one gzip stream (versions 2 and 3), and a table of zstd streams (version 4).

Source: the README of github.com/nianticlabs/spz (MIT), sections "File Format" and "Extensions".
"""

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import one_line, shown_size
from diffgs_jax.interop._finished import LARGEST_COUNT
from diffgs_jax.interop._spz_attributes import Packed, widths

MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")  # magic, version, count, SH degree, fractional bits, flags, reserved
_HEADER_4 = struct.Struct("<4sIIBBBBI12x")  # …, flags, number of streams, where their table begins
_ENTRY = struct.Struct("<QQ")  # bytes of a stream, and what they unpack to
_RECORD = struct.Struct("<II")  # an extension's kind and the bytes that follow
_HAS_EXTENSIONS = 2
_AXES = 0xADBE0003  # the extension that names the axes
_LEAST_UNPACKED = 2**25  # bytes that any file may unpack to
_RATIO = 8  # bytes that each byte of a larger one may unpack to; a scene's are two to four
_LEVEL = 12  # of zstd: what the reference packs with is as small, and faster to pack than to send
_WINDOW = 2**27  # bytes; what zstd itself takes at most without being asked

OBJECT_AXES = (1.0, 1.0, 1.0)
"""Signs of the axes where no extension names them: the numbers are a .ply's."""


class Container(NamedTuple):
    """What a file holds.

    Attributes:
        version: 2 to 4.
        bits: of a position's 24 that are fractions.
        fields: the arrays.
        turn: signs of the axes.
    """

    version: int
    bits: int
    fields: Packed
    turn: tuple[float, float, float]


def pack_container(fields: Packed, *, version: int, degree: int, bits: int) -> bytes:
    """Returns a file; the same arrays give the same bytes."""
    count, parts = len(fields.alphas), [np.ascontiguousarray(field).tobytes() for field in fields]
    if version < 4:
        header = _HEADER.pack(MAGIC, version, count, degree, bits, 0, 0)
        return gzip.compress(header + b"".join(parts), mtime=0)
    parts = parts if degree else parts[:-1]
    import zstandard  # only files of version 4 need it

    packer = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
    streams = [packer.compress(part) for part in parts]
    header = _HEADER_4.pack(MAGIC, version, count, degree, bits, 0, len(parts), _HEADER_4.size)
    table = b"".join(_ENTRY.pack(len(stream), len(part)) for stream, part in zip(streams, parts, strict=True))
    return header + table + b"".join(streams)


def read_container(name: str, content: bytes) -> Container:
    """Returns what a file holds, however it is packed.

    Args:
        name: of the file, for messages.
        content: its bytes.

    Raises:
        DataError: if it is truncated, corrupt, too large, or of another version.
    """
    return _read_streams(name, content) if content[:4] == MAGIC else _read_gzip(name, content)


def _read_gzip(name: str, content: bytes) -> Container:
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    header = _inflate(name, stream.decompress, content, _HEADER.size)
    if header[:4] != MAGIC or len(header) < _HEADER.size:
        raise DataError(f"{name} is not an .spz file")
    _, version, count, degree, bits, _, _ = _HEADER.unpack(header)
    if version not in (2, 3):
        raise DataError(f"{name} is an .spz of version {version}; versions 2 to 4 can be read")
    sizes = _checked_sizes(name, content, version, count, degree, bits)
    size = count * sum(sizes)
    unpacked = _inflate(name, stream.decompress, stream.unconsumed_tail, size)
    more = _inflate(name, stream.decompress, stream.unconsumed_tail, 1)  # to the stream's end, where its checksum is
    if len(unpacked) < size or not (more or stream.eof):
        raise DataError(f"{name} is truncated: its header announces {count} Gaussians, not all are there")
    if stream.unused_data.strip(b"\0"):
        raise DataError(f"{name} is corrupt: something else follows after its end")
    edges = np.cumsum([0, *sizes]) * count
    parts = [unpacked[start:end] for start, end in zip(edges, edges[1:], strict=False)]
    return Container(version, bits, _as_fields(parts, count, sizes), OBJECT_AXES)


def _read_streams(name: str, content: bytes) -> Container:
    if len(content) < _HEADER_4.size:
        raise DataError(f"{name} is truncated: it ends within its header")
    _, version, count, degree, bits, flags, streams, table = _HEADER_4.unpack_from(content)
    if version != 4:
        raise DataError(f"{name} is an .spz of version {version}; versions 2 to 4 can be read")
    sizes = _checked_sizes(name, content, version, count, degree, bits)
    expected = [count * size for size in sizes]
    if streams not in (6, 5 + bool(degree)) or not _HEADER_4.size <= table <= len(content) - streams * _ENTRY.size:
        raise DataError(f"{name} is corrupt: a table of {streams} streams at byte {table} cannot be")
    entries = [_ENTRY.unpack_from(content, table + index * _ENTRY.size) for index in range(streams)]
    start, parts = table + streams * _ENTRY.size, []
    for (packed_size, size), wanted in zip(entries, expected, strict=False):
        if size != wanted:
            raise DataError(f"{name} is corrupt: a stream of {size} bytes stands where {wanted} belong")
        if packed_size > len(content) - start:
            raise DataError(f"{name} is truncated: its header announces {count} Gaussians, not all are there")
        parts.append(_inflate_zstd(name, content[start : start + packed_size], size))
        start += packed_size
    parts += [b""] * (6 - len(parts))
    turn = _turn_of(name, content[_HEADER_4.size : table]) if flags & _HAS_EXTENSIONS else OBJECT_AXES
    return Container(version, bits, _as_fields(parts, count, sizes), turn)


def _checked_sizes(name: str, content: bytes, version: int, count: int, degree: int, bits: int) -> list[int]:
    """Returns the bytes that a Gaussian has in each array, if the sizes in the header are possible."""
    if count > LARGEST_COUNT or degree > 4 or bits > 23:
        raise DataError(
            f"{name} is corrupt or too large: its header announces {count} Gaussians of SH degree {degree}, "
            f"{bits} fractional bits"
        )
    sizes = widths(version, degree)
    size = count * sum(sizes)
    if size > max(_LEAST_UNPACKED, _RATIO * len(content)):
        raise DataError(
            f"{name} is corrupt or made to fill the memory: {shown_size(len(content))} announce {shown_size(size)}"
        )
    return sizes


def _as_fields(parts: list[bytes], count: int, sizes: list[int]) -> Packed:
    return Packed(
        *(np.frombuffer(part, np.uint8).reshape(count, width) for part, width in zip(parts, sizes, strict=True))
    )


def _turn_of(name: str, records: bytes) -> tuple[float, float, float]:
    """Returns the signs that bring the axes that an extension names to those of a .ply.

    Raises:
        DataError: if they are no mere flip of a .ply's, or the records end early.
    """
    place = 0
    while place + _RECORD.size <= len(records):
        kind, size = _RECORD.unpack_from(records, place)
        place += _RECORD.size + size
        if place > len(records):
            raise DataError(f"{name} is corrupt: an extension ends after its table begins")
        if kind == _AXES and size == 4:
            code = int.from_bytes(records[place - 4 : place], "little")
            if code > 8:  # releases of the format differ in what they call by these numbers
                raise DataError(f"{name} has axes of a kind ({code}) that cannot be read; export it without")
            if code:  # left or right, down or up, back or front, from the lowest bit on; a .ply's: right, down, front
                right, up, front = (bool((code - 1) >> bit & 1) for bit in range(3))
                return (1.0 if right else -1.0, -1.0 if up else 1.0, 1.0 if front else -1.0)
    return OBJECT_AXES


def _inflate(name: str, decompress: Callable[[bytes, int], bytes], packed: bytes, size: int) -> bytes:
    """Returns the next `size` bytes of a gzip stream, fewer if it ends."""
    if not size:
        return b""
    try:
        return decompress(packed, size)
    except zlib.error as error:
        raise DataError(f"{name} is not an .spz file, or is corrupt: {one_line(error)}") from None


def _inflate_zstd(name: str, packed: bytes, size: int) -> bytes:
    """Returns the `size` bytes of a zstd frame, never unpacking more than one beyond them."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(io.BytesIO(packed)) as stream:
            unpacked = stream.read(size + 1)
    except zstandard.ZstdError as error:
        raise DataError(f"{name} is corrupt: {one_line(error)}") from None
    if len(unpacked) != size:
        raise DataError(f"{name} is corrupt: a stream does not hold the {size} bytes that its table announces")
    return unpacked
