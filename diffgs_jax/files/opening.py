"""Foreign files opened within limits: regular files only, never larger than the reader can take.

A path that comes from a user or a dataset may name a pipe without a writer, a device, a loop of links, or a name
that no file system takes; a file may be far larger than what its format needs. All of that is one line here, at once.
"""

import contextlib
import io
import os
import pathlib
import stat
from collections.abc import Generator
from typing import Protocol, runtime_checkable

from diffgs_jax.errors import DataError, UserError, printable

_SHOWN = 200  # characters of a path in a message
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# A pipe is not waited for, should one take the file's place between looking and opening.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@runtime_checkable
class Readable(Protocol):
    """What gives bytes, a few at a time."""

    def read(self, size: int, /) -> bytes:
        """Returns at most so many bytes, none at the end."""
        ...


def shown(path: str | os.PathLike[str]) -> str:
    """Returns a path as a message may show it: on one line, printable, at most 200 characters."""
    return printable(os.fspath(path), _SHOWN)


def shown_size(count: int) -> str:
    """Returns a number of bytes in words, for example `4.5 GB`."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def one_line(error: BaseException) -> str:
    """Returns what another library raised in one printable line of at most 200 characters."""
    return printable(str(error), _SHOWN) or type(error).__name__


def checked_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns a path that a user named, whether something is there or not.

    Raises:
        UserError: if the system cannot look there: the name is too long or one that no file has, links go in circles,
            or a folder above may not be entered.
    """
    path = pathlib.Path(path)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UserError(f"cannot read {shown(path)}: {error.strerror or error}") from None
    except ValueError:
        raise UserError(f"cannot read {shown(path)}: no file can have such a name") from None
    return path


@contextlib.contextmanager
def open_regular(
    path: str | os.PathLike[str], *, limit: int | None = None, unreadable: type[ValueError] = UserError
) -> Generator[io.BufferedReader, None, None]:
    """Opens a regular file for reading bytes while the block lasts, or says at once why not.

    Args:
        path: links are followed.
        limit: bytes; a larger file is refused. None for files that are mapped or read piece by piece.
        unreadable: raised when there is no such file, or it may not be read: a `UserError` where a user named it, a
            `DataError` where a dataset promises it.

    Raises:
        UserError: or `unreadable`: if there is no such file, it is a folder, pipe, socket or device, it may not be
            read, or reading fails inside the block.
        DataError: if it is larger than the limit.
    """
    try:
        _refuse_others(path, os.stat(path), unreadable)
        opened = open(os.open(path, _FLAGS), "rb")
    except OSError as error:
        raise unreadable(f"cannot read {shown(path)}: {error.strerror or error}") from None
    except ValueError as error:
        if isinstance(error, unreadable):
            raise
        raise unreadable(f"cannot read {shown(path)}: no file can have such a name") from None
    with opened:
        now = os.fstat(opened.fileno())
        _refuse_others(path, now, unreadable)
        if limit is not None and now.st_size > limit:
            raise DataError(
                f"{shown(path)} is too large: {shown_size(now.st_size)}, and at most {shown_size(limit)} are read"
            )
        try:
            yield opened
        except OSError as error:  # a failing disk, a lost network drive, a file that is none
            raise unreadable(f"cannot read {shown(path)}: {error.strerror or error}") from None


def read_regular(path: str | os.PathLike[str], *, limit: int, unreadable: type[ValueError] = UserError) -> bytes:
    """Returns the bytes of a regular file of at most `limit` bytes.

    Raises:
        UserError: or `unreadable`: if it cannot be read; see `open_regular`.
        DataError: if it is larger than the limit.
    """
    with open_regular(path, limit=limit, unreadable=unreadable) as opened:
        return read_within(opened, limit, shown(path))


def read_within(source: Readable, limit: int, name: str) -> bytes:
    """Returns all that a source gives, which is at most `limit` bytes, whatever it promised.

    Raises:
        DataError: if there is more.
    """
    parts, left = [], limit
    while part := source.read(min(left + 1, 1 << 20)):
        left -= len(part)
        if left < 0:
            raise DataError(f"{name} holds more than {shown_size(limit)}, which is the most that is read of it")
        parts.append(part)
    return b"".join(parts)


def _refuse_others(path: str | os.PathLike[str], found: os.stat_result, unreadable: type[ValueError]) -> None:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is not None or not stat.S_ISREG(found.st_mode):
        raise unreadable(f"cannot read {shown(path)}: it is {kind or 'no regular file'}")
