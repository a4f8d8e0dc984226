"""Finished pieces of a long computation, kept in a folder, so that a program that was stopped goes on from there."""

import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from diffgs_jax.files import json_sha256, make_folder, written_beside

Piece = dict[str, np.ndarray]
"""Arrays by name: what one stretch of work has found."""

Keep = Callable[[str, Callable[[], Piece]], Piece]
"""`(name, compute) -> piece`: computes a piece, or returns it as it was computed before."""

_KEY = "computed with"


def compute_always(name: str, compute: Callable[[], Piece]) -> Piece:
    """Keeps nothing: a `Keep` for computations that are short."""
    del name
    return compute()


def keep_in(folder: pathlib.Path, settings: Any) -> Keep:
    """Returns a `Keep` that writes each piece to a file of its own, whole or not at all.

    A piece that was computed with other settings, or whose file is damaged, is computed again.

    Args:
        folder: for the files; created with the first.
        settings: everything that the pieces depend on, as JSON can say it.

    Raises:
        UserError: when called, if the piece cannot be written.
    """
    key = json_sha256(settings)[:16]

    def keep(name: str, compute: Callable[[], Piece]) -> Piece:
        file = folder / f"{name}.npz"
        kept = _read(file, key)
        if kept is not None:
            return kept
        piece = compute()
        arrays: dict[str, Any] = {_KEY: np.asarray(key)} | piece
        make_folder(folder)
        with written_beside(file) as beside:
            np.savez(beside, **arrays)
        return piece

    return keep


def _read(file: pathlib.Path, key: str) -> Piece | None:
    """Returns a piece of the same settings, or None."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            if str(arrays[_KEY]) != key:
                return None
            return {name: arrays[name] for name in arrays.files if name != _KEY}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
