"""Where what is fetched or compiled once is kept."""

import os
import pathlib

from diffgs_jax.errors import UserError

CACHE_VARIABLE = "DIFFGS_JAX_CACHE"
"""Environment variable that names another cache folder."""


def cache_folder() -> pathlib.Path:
    """Returns the user's cache folder, which may not exist yet: `$DIFFGS_JAX_CACHE`, or `~/.cache/diffgs_jax`.

    Raises:
        UserError: if there is no home folder.
    """
    try:
        return pathlib.Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/diffgs_jax").expanduser()
    except RuntimeError:
        raise UserError(f"there is no home folder to cache in: name one by {CACHE_VARIABLE}") from None
