"""The cover of an object in front of one plain colour."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

_PLAIN_SHARE = 0.7  # of the border that must have the background's colour; an object may touch the edge
_LEAST_TOLERANCE, _MOST_TOLERANCE = 0.04, 0.1  # colour differences; JPEG blocks need the first
_SPECK = 1e-3  # of the area of the largest part


class Matte(NamedTuple):
    """What of a picture is object, and the colour that was behind it.

    Attributes:
        cover: `[h, w]` in [0, 1].
        background: `[3]` in [0, 1].
    """

    cover: Float[np.ndarray, "h w"]
    background: Float[np.ndarray, "3"]


def cover_of_plain_background(image: Float[np.ndarray, "h w 3"]) -> Matte | None:
    """Finds an object in front of one plain colour, or returns None where the border has no one colour.

    Background is what has the border's colour and is connected to the border. At its edge, over a few pixels, the
    cover is soft: how far a pixel's colour is from the background's, relative to the most distant one nearby, which
    is what a pixel half covered by that neighbour's colour shows.

    Args:
        image: opaque colours in [0, 1].
    """
    height, width = image.shape[:2]
    border = np.ones((height, width), bool)
    rim = max(1, round(0.01 * max(height, width)))
    border[rim:-rim, rim:-rim] = False
    background = np.median(image[border], axis=0)
    difference = np.abs(image - background).max(axis=-1)
    tolerance = float(np.clip(4 * np.median(difference[border]), _LEAST_TOLERANCE, _MOST_TOLERANCE))
    alike = difference <= tolerance
    if alike[border].mean() < _PLAIN_SHARE:
        return None

    outside = ndimage.binary_propagation(border & alike, mask=alike)
    inside = without_specks(~outside)
    reach = max(1, round(max(height, width) / 400))
    band = ndimage.binary_dilation(outside, np.ones((3, 3)), iterations=reach) & inside
    nearby = ndimage.maximum_filter(difference, size=2 * reach + 3)
    soft = np.clip(difference / np.maximum(nearby, tolerance), 0, 1)
    return Matte(np.where(band, soft, inside).astype(np.float32), background.astype(np.float32))


def without_specks(visible: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Drops the parts that are under a thousandth of the largest part: dust would decide the bounding box."""
    parts, count = ndimage.label(visible, structure=np.ones((3, 3)))
    if count < 2:
        return visible
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return (areas >= _SPECK * areas.max())[parts] & visible
