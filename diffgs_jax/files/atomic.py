"""Files that appear whole or not at all: they are written beside their place, then renamed into it.

A program that is killed at any moment leaves the old file or the new one. Nothing is forced to the disk, so that this
is not promised of a machine that loses power.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import Any

from diffgs_jax.errors import UserError


@contextlib.contextmanager
def written_beside(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Yields a path in the same folder to write to; it takes the place of `path` when the block ends well.

    The temporary name keeps the suffix, because encoders choose their format by it, and is different in every call, so
    that threads, processes and machines may write one file at a time.

    Raises:
        UserError: if the folder does not exist or cannot be written to, or `path` is something else than a file.
    """
    path = Path(path)
    beside = path.parent / f".{path.stem[:40]}.{secrets.token_hex(4)}.partial{path.suffix}"
    try:
        if path.exists() and not path.is_file():  # a rename would replace /dev/null
            raise UserError(f"cannot write {path}: something else than a file has that name; choose another")
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that can be written"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file, whole or not at all.

    Raises:
        UserError: as `written_beside`.
    """
    with written_beside(path) as beside:
        beside.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Writes a text file in UTF-8, whole or not at all.

    What UTF-8 cannot say (half of a surrogate pair, as in file names that are no text) is written `\udcff`, which in
    JSON means the same.

    Raises:
        UserError: as `written_beside`.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a value as JSON, indented, whole or not at all.

    Raises:
        UserError: as `written_beside`.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
