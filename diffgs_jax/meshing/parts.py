"""What a mesh file holds, whatever its format: triangles with colours or a texture, where the file has them."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

MOST_TRIANGLES = 2_000_000
"""A file with more is not read."""

SOLID = 0.95
"""What would be blended with at least this opacity everywhere counts as hiding what is behind it."""


class MeshFilePart(NamedTuple):
    """Triangles that share a texture, in the file's axes.

    Attributes:
        vertices: `[v, 3]`.
        normals: `[v, 3]` of any length; None asks for those of the triangles.
        faces: `[f, 3]`.
        uv: `[v, 2]` on the texture, v up.
        colors: `[v, 4]` RGBA, multiplied with the texture's.
        linear: whether `colors` are linear light, to be multiplied with the texture's linear light; display values
            otherwise.
        texture: RGBA display values, straight alpha, top row first, or None.
        clamped: in u and v, whether the texture's edge goes on outside of [0, 1]; it repeats otherwise.
        transparency: `solid` hides what is behind it, whatever alpha says; `cut` hides it, or is a hole where alpha
            (texture × corners) is under a half; `blended` lets 1 − alpha through.
    """

    vertices: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"] | None
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    colors: Float[np.ndarray, "v 4"]
    linear: bool
    texture: UInt8[np.ndarray, "h w 4"] | None
    clamped: tuple[bool, bool]
    transparency: Literal["solid", "cut", "blended"]
