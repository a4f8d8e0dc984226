"""Which way is up."""

from typing import Literal

Up = Literal[
    "z",  # the object frame, Blender
    "y",  # glTF, most OBJ files
    "-y",  # reconstructions of captures (COLMAP)
]
