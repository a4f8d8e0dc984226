"""Reading files that a dataset promises, with one line for what is wrong with them."""

import collections
import fnmatch
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from diffgs_jax.data.split import Split
from diffgs_jax.errors import DataError
from diffgs_jax.files import json_text, parse_json, read_regular
from diffgs_jax.files.images import image_size

__all__ = [
    "alone_in_name",
    "image_size",
    "is_file",
    "read_json",
    "natural_order",
    "parse_json",
    "image_file",
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


def read_json(file: pathlib.Path) -> Any:
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


def is_file(file: pathlib.Path) -> bool:
    """Returns whether there is a regular file of this name; false for names that no file can have."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def image_file(folder: pathlib.Path, name: str, *, alone: bool) -> pathlib.Path:
    """Returns the picture that a reconstruction names.

    Args:
        folder: of pictures.
        name: a path below it; cameras of a rig have folders of their own, with equal names in them.
        alone: whether no other picture is called so, but for its folders, which may be missing then.

    Raises:
        DataError: if there is no such file.
    """
    path = pathlib.PurePosixPath(name)
    whole = folder / path
    if not path.is_absolute() and ".." not in path.parts and is_file(whole):
        return whole
    if alone and is_file(folder / path.name):
        return folder / path.name
    raise DataError(f"the picture {name} is not in {folder}")


def alone_in_name(names: Sequence[str]) -> set[str]:
    """Returns the paths whose last part no other path has."""
    counts = collections.Counter(pathlib.PurePosixPath(name).name for name in names)
    return {name for name in names if counts[pathlib.PurePosixPath(name).name] == 1}


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
    except (OSError, ValueError):  # it cannot be walked either
        return folder
    return state.st_dev, state.st_ino


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Returns a key that sorts r_2 before r_10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def split_of_folder(name: str) -> Split | None:
    """Returns the side of the split that a folder's name says, or None."""
    return {"train": "train", "training": "train", "test": "test", "testing": "test"}.get(name)  # ty: ignore
