"""Folders that are filled whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Generator

from diffgs_jax.errors import UserError


@contextlib.contextmanager
def filled_folder(folder: pathlib.Path) -> Generator[pathlib.Path, None, None]:
    """Yields an empty folder inside `folder`; its files move up into place together when the block ends well.

    A `folder` that was not there and that nothing came of is removed again.

    Raises:
        UserError: if the folder cannot be created or written to, before the block begins.
    """
    missing = not folder.exists()
    try:
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
