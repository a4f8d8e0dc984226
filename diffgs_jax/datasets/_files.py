"""Reading files that a dataset promises, with one line for what is wrong with them."""

import fnmatch
import io
import json
import os
import pathlib
import re
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
    try:
        return json.loads(data)
    except ValueError as error:
        raise DataError(f"{name} is not JSON: {error}") from None


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
