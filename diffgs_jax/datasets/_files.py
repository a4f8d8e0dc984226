"""Reading files that a dataset promises, with one line for what is wrong with them."""

import collections
import fnmatch
import io
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from diffgs_jax.data.split import Split
from diffgs_jax.errors import DataError


def read_bytes(file: pathlib.Path) -> bytes:
    """Returns a file's content.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None


def load_json(file: pathlib.Path) -> Any:
    """Returns what a JSON file says.

    Raises:
        DataError: if it cannot be read or is not JSON.
    """
    return parse_json(read_bytes(file), str(file))


def parse_json(data: bytes, name: str) -> Any:
    """Returns what JSON text says.

    Raises:
        DataError: if it is not JSON.
    """

    def refuse(word: str) -> float:
        raise ValueError(f"{word} is no number")

    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not JSON: {error}") from None


def is_file(file: pathlib.Path) -> bool:
    """Returns whether there is a regular file of this name; false for names that no file can have."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def picture_file(folder: pathlib.Path, name: str, *, alone: bool) -> pathlib.Path:
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


def image_size(encoded: bytes, name: str) -> tuple[int, int]:
    """Returns a picture's (width, height) without decoding it.

    Raises:
        DataError: if it is no picture.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return picture.size
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(f"{name} is an unreadable picture: {error}") from None


def walk_files(root: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """Returns the files below a folder whose name matches, sorted; folders of pictures (`images…`) are not entered.

    Args:
        root: where to begin; links are followed.
        pattern: of `fnmatch`.
    """
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("images"))
        found += [pathlib.Path(folder, name) for name in fnmatch.filter(files, pattern)]
    return sorted(found)


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Returns a key that sorts r_2 before r_10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def split_of_folder(name: str) -> Split | None:
    """Returns the side of the split that a folder's name says, or None."""
    return {"train": "train", "training": "train", "test": "test", "testing": "test"}.get(name)  # ty: ignore
