"""Reading files that a dataset promises, with one line for what is wrong with them."""

import fnmatch
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from diffgs_jax.data.split import Split
from diffgs_jax.errors import DataError
from diffgs_jax.files import json_text, parse_json, read_regular
from diffgs_jax.files.images import image_size

__all__ = [
    "image_size",
    "load_json",
    "natural_order",
    "parse_json",
    "read_bytes",
    "split_of_folder",
    "walk_files",
    "walk_folders",
]

_LARGEST = 2**30  # bytes of a file that is read at once


def read_bytes(file: pathlib.Path, *, limit: int = _LARGEST) -> bytes:
    """Returns a regular file's content.

    Args:
        file: that the dataset promises.
        limit: bytes.

    Raises:
        DataError: if it cannot be read, is no regular file, or is larger.
    """
    return read_regular(file, limit=limit, unreadable=DataError)


def load_json(file: pathlib.Path) -> Any:
    """Returns what a JSON file says; see `files.parse_json` for the limits.

    Raises:
        DataError: if it cannot be read or is not JSON.
    """
    return json_text.load_json(file, unreadable=DataError)


def walk_folders(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str], list[str]]]:
    """Yields each folder below `root` once with the names of its folders and files, as `os.walk` does from the top.

    Links are followed; one that leads to a folder above would be walked for ever.

    Args:
        root: where to begin.
    """
    seen = {_identity(root)}
    for name, folders, names in os.walk(root, followlinks=True):
        folder, new = pathlib.Path(name), []
        for inner in sorted(folders):
            identity = _identity(folder / inner)
            if identity not in seen:
                seen.add(identity)
                new.append(inner)
        folders[:] = new
        yield folder, folders, sorted(names)


def walk_files(root: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """Returns the files below a folder whose name matches, sorted; folders of pictures (`images…`) are not entered.

    Args:
        root: where to begin; links are followed, each folder is entered once.
        pattern: of `fnmatch`.
    """
    found = []
    for folder, folders, names in walk_folders(root):
        folders[:] = [name for name in folders if not name.startswith("images")]
        found += [folder / name for name in fnmatch.filter(names, pattern)]
    return sorted(found)


def _identity(folder: pathlib.Path) -> tuple[int, int] | pathlib.Path:
    try:
        state = folder.stat()
    except OSError:  # it cannot be walked either
        return folder
    return state.st_dev, state.st_ino


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Returns a key that sorts r_2 before r_10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def split_of_folder(name: str) -> Split | None:
    """Returns the side of the split that a folder's name says, or None."""
    return {"train": "train", "training": "train", "test": "test", "testing": "test"}.get(name)  # ty: ignore
