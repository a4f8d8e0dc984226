"""What of a picture's file is handed to its decoder: what decides the pixels, and nothing else.

Metadata is where pictures are dangerous: entries of an EXIF block may all claim the same megabytes, comments are glued
together one by one, and a text chunk is a bomb of its own. None of it is needed but the orientation, which is looked up
here. A PNG's checksums, which decoders skip, are compared on the way.
"""

import struct
import zlib
from typing import NamedTuple

from diffgs_jax.errors import DataError

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP"}
_PNG_CHUNKS = 1_000_000
_JPEG_SEGMENTS = 10_000
_JPEG_SCANS = 100  # of a progressive picture; each goes over all its pixels
_EXIF = b"Exif\0\0"
_ENTRIES = 1000  # of an EXIF directory
_ORIENTATION = 0x0112


class Container(NamedTuple):
    """A picture's file without its metadata.

    Attributes:
        format: as Pillow names it.
        content: what to decode.
        orientation: 1 to 8 (EXIF 2.3, tag 0x0112), or None where it is to be asked of the decoder.
    """

    format: str
    content: bytes
    orientation: int | None


def opened_container(encoded: bytes, name: str) -> Container:
    """Returns what a decoder is to see of a PNG, JPEG, WebP, GIF or BMP file.

    Raises:
        DataError: if it is of another kind, or damaged.
    """
    if encoded[:8] == _PNG:
        return _png(encoded, name)
    if encoded[:3] == b"\xff\xd8\xff":
        return _jpeg(encoded, name)
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return Container("WEBP", encoded, None)
    if encoded[:6] in (b"GIF87a", b"GIF89a"):
        return _gif(encoded, name)
    if encoded[:2] == b"BM":
        return Container("BMP", encoded, 1)
    raise DataError(f"{name} is {_kind(encoded)}; give a PNG, JPEG, WebP, GIF or BMP picture")


def exif_orientation(block: bytes | None) -> int:
    """Returns the orientation that an EXIF block tells, 1 (as stored) where it tells none.

    Args:
        block: a TIFF header and its directories, with or without `Exif` before it.
    """
    block = (block or b"").removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for place in range(start + 2, start + 2 + 12 * min(count, _ENTRIES), 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, place)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:  # the block ends before its directory does
        pass
    return 1


def _png(encoded: bytes, name: str) -> Container:
    data, kept, place, orientation = memoryview(encoded), [memoryview(encoded)[:8]], 8, 1
    for _ in range(_PNG_CHUNKS):
        if place + 12 > len(data):
            raise DataError(f"{name} is truncated: a PNG without its end")
        size, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + size
        if end > len(data):
            raise DataError(f"{name} is truncated: a PNG whose last chunk is cut off")
        if zlib.crc32(data[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DataError(f"{name} is damaged: a chunk of the PNG does not have its checksum")
        if kind in _PNG_KEPT:
            kept.append(data[place:end])
        elif kind == b"eXIf":
            orientation = exif_orientation(bytes(data[place + 8 : end - 4]))
        elif not kind[0] & 32:  # a capital: without it the picture cannot be understood
            raise DataError(f"{name} is an unusual PNG, with a chunk {kind.decode('latin-1')!r}")
        if kind == b"IEND":
            return Container("PNG", b"".join(kept), orientation)
        place = end
    raise DataError(f"{name} is an unusual PNG, of more than {_PNG_CHUNKS} chunks")


def _jpeg(encoded: bytes, name: str) -> Container:
    data, kept, place, orientation = memoryview(encoded), [memoryview(encoded)[:2]], 2, None
    for _ in range(_JPEG_SEGMENTS):
        place = encoded.find(b"\xff", place)  # what is between segments is skipped, as by libjpeg
        while 0 <= place < len(data) - 1 and data[place + 1] == 0xFF:
            place += 1
        if not 0 <= place < len(data) - 4:
            raise DataError(f"{name} is truncated: a JPEG without pixels")
        kind = data[place + 1]
        if kind in (0, 1) or 0xD0 <= kind <= 0xD7:  # no segments, but single marks
            place += 2
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if kind == 0xDA:  # the first scan; the others follow
            if encoded.count(b"\xff\xda", place) > _JPEG_SCANS:
                raise DataError(f"{name} is an unusual JPEG, of more than {_JPEG_SCANS} scans")
            return Container("JPEG", b"".join([*kept, data[place:]]), orientation or 1)
        body = data[place + 4 : end]
        if end < place + 4 or end > len(data):
            raise DataError(f"{name} is truncated or damaged: a JPEG whose segment {kind:#x} is cut off")
        if kind == 0xE1 and bytes(body[:6]) == _EXIF and orientation is None:
            orientation = exif_orientation(bytes(body))
        is_application = 0xE0 <= kind <= 0xEF or kind == 0xFE  # or a comment
        is_profile = kind == 0xE2 and bytes(body[:12]) == b"ICC_PROFILE\0"
        if not is_application or is_profile or kind == 0xEE:  # the last: Adobe's, which tells CMYK from YCCK
            kept.append(data[place:end])
        place = end
    raise DataError(f"{name} is an unusual JPEG, of more than {_JPEG_SEGMENTS} segments")


def _gif(encoded: bytes, name: str) -> Container:
    """Keeps the first picture of an animation, and which of its colours is transparent."""
    data = memoryview(encoded)
    cut = DataError(f"{name} is truncated: a GIF without pixels")
    if len(data) < 13:
        raise cut
    place = 13 + _palette_size(data[10])
    kept = [data[:place]]
    while place < len(data) - 10:
        start, kind = place, data[place]
        if kind == 0x21:  # an extension
            place = _after_blocks(data, place + 2)
            if data[start + 1] == 0xF9:  # what is transparent
                kept.append(data[start:place])
        elif kind == 0x2C:  # a picture
            place = _after_blocks(data, place + 11 + _palette_size(data[place + 9]))
            return Container("GIF", b"".join([*kept[:1], *kept[1:][-1:], data[start:place], b";"]), 1)
        else:
            break
    raise cut


def _palette_size(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: memoryview, place: int) -> int:
    """Returns where a chain of blocks of up to 255 bytes ends; a chain that is cut off ends with the file."""
    while place < len(data) and data[place]:
        place += data[place] + 1
    return min(place + 1, len(data))


def _kind(encoded: bytes) -> str:
    """Says what a file is instead, as far as its first bytes tell."""
    head = encoded[:512]
    if not head:
        return "empty"
    if head[4:8] == b"ftyp":
        families = {b"heic": "a HEIC", b"heix": "a HEIC", b"avif": "an AVIF", b"avis": "an AVIF"}
        return f"{families.get(head[8:12], 'a HEIF')} file"
    others = {b"II*\0": "a TIFF file", b"MM\0*": "a TIFF file", b"%!PS": "a PostScript file", b"%PDF": "a PDF file"}
    others |= {b"8BPS": "a Photoshop file", b"\xc5\xd0\xd3\xc6": "a PostScript file", b"\xff\x0a": "a JPEG XL file"}
    for mark, what in others.items():
        if head.startswith(mark):
            return what
    if head.lstrip()[:5] in (b"<?xml", b"<svg "):
        return "an SVG or XML file"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return "of another kind"
    return "of another kind" if b"\0" in head else "a text file"
