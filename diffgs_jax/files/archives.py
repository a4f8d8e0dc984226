"""Packed files and archives, read within limits: the size that a file states is checked, and never allocated for.

A few kilobytes can unpack to gigabytes, members can share their bytes, and a tar archive can have holes. Every function
here is told how much the caller asks for and takes no more memory than that.
"""

import contextlib
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

from diffgs_jax.errors import DataError
from diffgs_jax.files.opening import one_line, read_within, shown, shown_size

_DIRECTORY = 16 * 2**20  # bytes of a zip archive's directory, some 150,000 members with usual names
_MEMBERS = 200_000  # of a tar archive
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack without a limit
_MARKS = 100  # extended headers of one member of a tar archive
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError)
_BROKEN_ZIP += (OSError, ValueError, OverflowError)
_BROKEN_TAR = (tarfile.TarError, struct.error, EOFError, OSError, ValueError, OverflowError, IndexError, RecursionError)


class _SmallReads(io.BufferedReader):
    """A file of which nothing large is read at once: `zipfile` reads the whole directory before it looks at it."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns at most `size` bytes."""
        if size is not None and size > _DIRECTORY:
            raise zipfile.BadZipFile(f"its directory takes {shown_size(size)}")
        return super().read(size)


@contextlib.contextmanager
def open_zip(opened: BinaryIO, name: str) -> Generator[zipfile.ZipFile, None, None]:
    """Yields a zip archive whose members each have one name, one place and bytes of their own.

    Readers disagree which of two members of one name counts, so such an archive is refused; members that share their
    bytes make bombs.

    Args:
        opened: of `open_regular`; stays open.
        name: for messages.

    Raises:
        DataError: if it is damaged or such an archive.
    """
    with open(opened.fileno(), "rb", buffering=0, closefd=False) as raw:
        try:
            archive = zipfile.ZipFile(_SmallReads(raw))
        except _BROKEN_ZIP as error:
            raise DataError(f"{name} is truncated or no zip archive ({one_line(error)})") from None
        with archive:
            _refuse_doubles(archive.infolist(), name)
            yield archive


def read_member(archive: zipfile.ZipFile, member: str | zipfile.ZipInfo, limit: int, name: str) -> bytes:
    """Returns a member of a zip archive, its checksum compared.

    Args:
        archive: of `open_zip`.
        member: its name or entry.
        limit: bytes; more are refused before anything is unpacked.
        name: of the archive, for messages.

    Raises:
        DataError: if it is missing, damaged, larger, or packed in a way that cannot be read within limits.
    """
    try:
        entry = archive.getinfo(member) if isinstance(member, str) else member
        if entry.file_size > limit:
            raise DataError(
                f"{name}: {shown(entry.filename)} is too large: {shown_size(entry.file_size)}, "
                f"and at most {shown_size(limit)} are read"
            )
        if entry.compress_type not in _PACKINGS:
            raise DataError(f"{name}: {shown(entry.filename)} is packed by a method other than deflate")
        with archive.open(entry) as packed:
            content = read_within(packed, entry.file_size, f"{name}: {shown(entry.filename)}")
    except KeyError:
        raise DataError(f"{name} has no member {member}") from None
    except DataError:
        raise
    except _BROKEN_ZIP as error:
        raise DataError(f"{name} is damaged: {one_line(error)}") from None
    if len(content) != entry.file_size:
        raise DataError(f"{name} is truncated: {shown(entry.filename)} has {len(content)} bytes of {entry.file_size}")
    return content


def _refuse_doubles(entries: list[zipfile.ZipInfo], name: str) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.filename in seen:
            raise DataError(f"{name} has two members named {shown(entry.filename)}")
        seen.add(entry.filename)
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    for entry, following in zip(ordered, ordered[1:], strict=False):
        # A header of 30 bytes at least comes before each member's bytes, and a name that may be encoded in fewer.
        if entry.header_offset + 30 + entry.compress_size > following.header_offset:
            raise DataError(
                f"{name} is no sound zip archive: {shown(entry.filename)} and {shown(following.filename)} share bytes"
            )


def gunzip(packed: bytes | BinaryIO, limit: int, name: str) -> bytes:
    """Returns the content of a gzip file, which is at most `limit` bytes.

    Raises:
        DataError: if it is damaged, truncated or larger.
    """
    source = io.BytesIO(packed) if isinstance(packed, bytes) else packed
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as unpacked:
            return read_within(unpacked, limit, name)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is truncated or no gzip file ({one_line(error)})") from None


@contextlib.contextmanager
def open_tar(opened: Any, name: str) -> Generator[tarfile.TarFile, None, None]:
    """Yields a plain tar archive; one that is compressed as a whole is refused, since each look into it unpacks it all.

    Raises:
        DataError: if it is no such archive.
    """
    try:
        archive = tarfile.open(fileobj=opened, mode="r:", errorlevel=0)
    except _BROKEN_TAR as error:
        raise DataError(f"{name} is truncated or no plain tar archive ({one_line(error)})") from None
    with archive:
        yield archive


def tar_members(archive: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    """Yields the members of a tar archive that are plain files.

    Raises:
        DataError: if it is damaged, or has more than 200,000 members.
    """
    count = 0
    while True:
        try:
            member = archive.next()
        except _BROKEN_TAR as error:
            raise DataError(f"{name} is damaged ({one_line(error)})") from None
        if member is None:
            return
        count += 1
        if count > _MEMBERS or len(member.pax_headers) > _MARKS:
            raise DataError(f"{name} has more than {_MEMBERS} members, or {_MARKS} extended headers for one")
        if member.size < 0:  # would lead back to a member before
            raise DataError(f"{name} is damaged (a member of {member.size} bytes)")
        if member.isreg() and not member.issparse():
            yield member


def read_tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, limit: int, name: str) -> bytes:
    """Returns a member of a tar archive: a plain file without holes, of at most `limit` bytes.

    Raises:
        DataError: if it is something else, larger or truncated.
    """
    if not member.isreg() or member.issparse():
        raise DataError(f"{name}: {shown(member.name)} is no plain file, or one with holes")
    if member.size > limit:
        sizes = f"{shown_size(member.size)}, and at most {shown_size(limit)} are read"
        raise DataError(f"{name}: {shown(member.name)} is too large: {sizes}")
    try:
        opened = archive.extractfile(member)
        content = b"" if opened is None else read_within(opened, member.size, f"{name}: {shown(member.name)}")
    except _BROKEN_TAR as error:
        raise DataError(f"{name} is damaged ({one_line(error)})") from None
    if len(content) != member.size:
        raise DataError(f"{name} is truncated: {shown(member.name)} has {len(content)} bytes of {member.size}")
    return content
