"""SHA-256 hashes, in hexadecimal, of files, texts, settings and arrays.

Hashes are stored in checkpoints, samples and caches and compared years later: what goes into one never changes.
"""

import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np

from diffgs_jax.errors import UserError


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Returns the hash of a file's bytes.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with pathlib.Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def text_sha256(text: str) -> str:
    """Returns the hash of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def json_sha256(value: Any) -> str:
    """Returns the hash of a value's JSON text with sorted keys; what JSON cannot say goes in by its `str`."""
    return text_sha256(json.dumps(value, sort_keys=True, default=str))


def arrays_sha256(tree: Any) -> str:
    """Returns the hash of the names, types, shapes and values of a tree of arrays."""
    import jax  # a second, which what hashes files and texts need not wait for

    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype.str} {array.shape}\n".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def model_sha256(settings: Any, params: Any) -> str:
    """Returns the hash of a model: of its settings' JSON text, then the names and values of its weights.

    Types and shapes follow from the settings and do not go in. `sample.json` records it.
    """
    import jax  # as above

    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(_bytes(np.ascontiguousarray(leaf)))
    return digest.hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
    return array.view(np.uint8).data  # bfloat16 offers no buffer of its own
