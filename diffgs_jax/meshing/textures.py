"""Textures as arrays: made small enough, and looked up."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

LARGEST_TEXTURE = 1024
"""Height and width that textures are shrunk to."""


def shrunk_texture(image: Image.Image, *, opaque: bool = False) -> UInt8[np.ndarray, "h w 4"]:
    """Returns a picture as RGBA, straight alpha, top row first, no larger than `LARGEST_TEXTURE`.

    Args:
        image: of any mode.
        opaque: alpha is 255 everywhere, whatever the picture's.
    """
    if max(image.size) > LARGEST_TEXTURE:
        shrink = LARGEST_TEXTURE / max(image.size)
        image = image.convert("RGBA").resize([max(1, round(side * shrink)) for side in image.size], reducing_gap=2.0)
    pixels = np.array(image.convert("RGBA"))
    if opaque:
        pixels[..., 3] = 255
    return pixels


def nearest_texels(
    texture: UInt8[np.ndarray, "h w 4"], uv: Float[np.ndarray, "*n 2"], clamped: tuple[bool, bool] = (False, False)
) -> UInt8[np.ndarray, "*n 4"]:
    """Returns the nearest texels.

    Args:
        texture: RGBA, top row first.
        uv: v up.
        clamped: in u and in v, whether the edge goes on outside of [0, 1]; it repeats otherwise.
    """
    height, width = texture.shape[:2]
    column, row = np.floor(uv[..., 0] * width), np.floor((1 - uv[..., 1]) * height)
    column = (column.clip(0, width - 1) if clamped[0] else column % width).astype(int)
    row = (row.clip(0, height - 1) if clamped[1] else row % height).astype(int)
    return texture[row, column]
