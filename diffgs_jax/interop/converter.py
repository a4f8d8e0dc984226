"""Which program packs the formats that we do not, and whether it is there: importing it is cheap."""

import os
import pathlib
import shutil

from diffgs_jax.errors import UserError

CONVERTED_SUFFIXES = (".compressed.ply", ".sog")
"""What the program packs and unpacks for us."""

_VARIABLE = "SPLAT_TRANSFORM"


def check_converter() -> str:
    """Returns the program's path.

    Raises:
        UserError: if it is not installed.
    """
    program = os.environ.get(_VARIABLE) or shutil.which("splat-transform")
    if program is None:
        raise UserError(
            "compressed .ply and .sog need splat-transform: npm install -g @playcanvas/splat-transform (Node 22), "
            f"or point {_VARIABLE} at it"
        )
    return program


def converted_suffix(path: str | os.PathLike[str]) -> str | None:
    """Returns the one of `CONVERTED_SUFFIXES` that a file has, or None."""
    name = pathlib.Path(path).name.lower()
    return next((suffix for suffix in CONVERTED_SUFFIXES if name.endswith(suffix)), None)
