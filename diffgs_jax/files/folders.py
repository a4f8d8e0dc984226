"""Folders that are filled whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Generator
from typing import Any

from diffgs_jax.errors import UserError
from diffgs_jax.files.hashing import json_sha256


def make_folder(folder: pathlib.Path) -> pathlib.Path:
    """Creates a folder with those above it, if it is not there, and returns it.

    Raises:
        UserError: if it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {folder}: {error.strerror or error}; choose another") from error
    return folder


@contextlib.contextmanager
def filled_folder(folder: pathlib.Path) -> Generator[pathlib.Path, None, None]:
    """Yields an empty folder inside `folder`; its files move up into place together when the block ends well.

    What `folder` holds besides stays. One that was not there and that nothing came of is removed again.

    Raises:
        UserError: if the folder cannot be created or written to, before the block begins.
    """
    try:
        missing = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        beside = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    except OSError as error:
        raise UserError(
            f"cannot write to the output folder {folder}: {error.strerror}; choose another --out"
        ) from error
    try:
        yield beside
        for path in sorted(beside.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise UserError(f"cannot write to the output folder {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if missing:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if nothing came of it


@contextlib.contextmanager
def new_folder(
    folder: pathlib.Path, *, overwrite: bool = False, hint: str = "delete it or choose another folder"
) -> Generator[pathlib.Path, None, None]:
    """Yields an empty folder beside `folder`, which takes its name when the block ends well.

    What a killed program left beside it is removed first.

    Args:
        folder: to be created.
        overwrite: replace a folder of that name; the old one is there until the new one is whole.
        hint: what a user may do about a folder that is there already.

    Raises:
        UserError: before the block begins, if `folder` exists (and is not to be replaced, or is a file), or it cannot
            be created; afterwards, if it cannot be written.
    """
    place = pathlib.Path(os.path.abspath(folder))
    beside, old = (place.parent / f"{place.name}.{kind}" for kind in ("partial", "replaced"))
    try:
        if place.exists() and not overwrite:
            raise UserError(f"{folder} exists already; {hint}")
        if place.exists() and not place.is_dir():
            raise UserError(f"{folder} is not a folder; delete it or choose another name")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield beside
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.rename(old)
        try:
            beside.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def unfinished_folder(folder: pathlib.Path, settings: Any) -> pathlib.Path:
    """Creates and returns the folder beside `folder` for the finished pieces of a work that may be interrupted.

    The same settings find the same folder again; whoever finishes the work removes it.

    Args:
        folder: that the work will fill.
        settings: everything that the pieces depend on, as JSON can say it.

    Raises:
        UserError: if it cannot be created.
    """
    return make_folder(folder.with_name(f"{folder.name}.partial-{json_sha256(settings)[:8]}"))
