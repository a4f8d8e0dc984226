"""Files appear whole or not at all: they are written beside their place, then renamed into it."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

from diffgs_jax.errors import UserError


@contextlib.contextmanager
def written_beside(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Yields a path in the same folder to write to; it takes the place of `path` when the block ends well.

    The temporary name keeps the suffix, because encoders choose their format by it.

    Raises:
        UserError: if the folder does not exist or cannot be written to.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that can be written"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
