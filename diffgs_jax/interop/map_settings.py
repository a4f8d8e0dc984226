"""What files of depth, normals and coverage may be, as settings: importing it is cheap."""

import importlib.util
from typing import Literal

from diffgs_jax.errors import UserError

MapKind = Literal["depth", "normals", "mask"]
"""`depth`: z along the camera's axis, world units, 0 where nothing is; `normals`: of the surface that depth shows, in
world axes; `mask`: how much of a pixel is covered."""
MapFormat = Literal["exr", "png"]
"""`exr`: float32, one channel Z (depth) or A (mask), or R, G and B; `png`: 16 bits, with what they stand for told."""


def check_maps(kinds: tuple[MapKind, ...], form: MapFormat, views: int) -> None:
    """Finds out before any expensive work whether maps can be written.

    Raises:
        UserError: if there is not one view, or a package is missing.
    """
    if kinds and views < 1:
        raise UserError(f"maps need at least one view, not {views}")
    if kinds and form == "exr" and importlib.util.find_spec("OpenEXR") is None:
        raise UserError('EXR files need OpenEXR: pip install "diffgs_jax[maps]", or ask for png')
