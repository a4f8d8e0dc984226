"""Members of a zip archive as arrays of bytes, read or mapped, with a bound on what they unpack to."""

import os
import struct
import zipfile
import zlib
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from diffgs_jax.errors import DataError
from diffgs_jax.files import read_member, shown, shown_size

_HEADER = struct.Struct("<4s22xHH")  # of a member: its mark, and the lengths of its name and of an extra field
_AT_ONCE = 1 << 22  # bytes


class Members:
    """The members of an archive, each one's checksum compared when it is read.

    Args:
        archive: of `open_zip`.
        opened: the archive's file.
        mapped: members that are not packed are views of the mapped file instead of copies.
        least_unpacked: bytes that all packed members together may unpack to, whatever the archive's size.
        ratio: bytes that they may unpack to for each byte of the archive, if that is more.
    """

    def __init__(
        self, archive: zipfile.ZipFile, opened: BinaryIO, *, mapped: bool, least_unpacked: int, ratio: int
    ) -> None:
        # Without a buffer, since the archive moves the same file's place.
        self._archive, self._file = archive, open(opened.fileno(), "rb", buffering=0, closefd=False)
        self._size = os.fstat(opened.fileno()).st_size
        self._left = max(least_unpacked, ratio * self._size)
        self._mapped = np.memmap(opened, np.uint8, "r") if mapped else None

    def read(self, name: str, limit: int) -> UInt8[np.ndarray, "_"]:
        """Returns a member's bytes, which cannot be written to.

        Args:
            name: of the member.
            limit: bytes; a larger member is refused before anything of it is read.

        Raises:
            DataError: if it is missing, damaged or larger, or the packed members unpack to too much.
        """
        try:
            entry = self._archive.getinfo(name)
        except KeyError:
            raise DataError(f"the archive has no member {shown(name)}") from None
        if entry.file_size > limit:
            raise DataError(f"{shown(name)} has {shown_size(entry.file_size)} where {shown_size(limit)} are announced")
        if entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1:
            return self._stored(entry)
        self._left -= entry.file_size
        if self._left < 0:
            raise DataError("the archive's packed members unpack to far more than its size")
        content = np.frombuffer(read_member(self._archive, entry, limit, "the archive"), np.uint8)
        return content

    def _stored(self, entry: zipfile.ZipInfo) -> UInt8[np.ndarray, "_"]:
        """Finds a member that is not packed.

        It is a header of 30 bytes, its name, an extra field, and then its bytes. The header says how long name and
        extra field are; what the archive's directory says of the extra field is of another one.
        """
        header = b""
        if 0 <= entry.header_offset < self._size:
            self._file.seek(entry.header_offset)
            header = self._file.read(_HEADER.size)
        mark, *lengths = _HEADER.unpack(header) if len(header) == _HEADER.size else (b"", 0, 0)
        start = entry.header_offset + _HEADER.size + sum(lengths)
        if mark != b"PK\x03\x04" or start + entry.file_size > self._size or entry.file_size != entry.compress_size:
            raise DataError(f"truncated: {shown(entry.filename)} is not where its directory says")
        if self._mapped is None:
            content = np.empty(entry.file_size, np.uint8)
            checksum = self._copy(start, content)
            content.flags.writeable = False
        else:
            content = self._mapped[start : start + entry.file_size]
            # Read beside the map: pages that were only summed do not count as this process's memory.
            checksum = self._copy(start, None, entry.file_size)
        if entry.CRC and checksum != entry.CRC:  # PyTorch can be told to leave checksums out, which writes zeros
            raise DataError(f"damaged: {shown(entry.filename)} does not have the checksum that its directory says")
        return content

    def _copy(self, start: int, target: np.ndarray | None, size: int = 0) -> int:
        """Reads bytes into an array, or only over them, and returns their checksum."""
        checksum, place, end = 0, 0, size if target is None else len(target)
        self._file.seek(start)
        while place < end:
            part = self._file.read(min(_AT_ONCE, end - place))
            if not part:
                raise DataError("truncated while it was read")
            checksum = zlib.crc32(part, checksum)
            if target is not None:
                target[place : place + len(part)] = np.frombuffer(part, np.uint8)
            place += len(part)
        return checksum
