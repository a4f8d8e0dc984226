"""The cover of an object in front of one plain colour."""

from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Bool, Float

_PLAIN_SHARE = 0.7  # of the border that must have the background's colour; an object may touch the edge
_LEAST_TOLERANCE, _MOST_TOLERANCE = 0.04, 0.1  # colour differences; JPEG blocks need the first
_SPECK, _SCENERY = 1e-3, 0.25  # of the area of the largest part


class Matte(NamedTuple):
    """What of a picture is object, and the colour that was behind it.

    Attributes:
        cover: `[h, w]` in [0, 1].
        background: `[h, w, 3]`.
    """

    cover: Float[np.ndarray, "h w"]
    background: Float[np.ndarray, "h w 3"]


def cover_of_plain_background(image: Float[np.ndarray, "h w 3"]) -> Matte | None:
    """Finds an object in front of one plain colour, or returns None where the border has no one colour.

    The colour may change linearly from side to side, as light does. Background is what has it and is connected to the
    border. At its edge, over a few pixels, the cover is soft: how far a pixel's colour is from the background's,
    relative to the most distant one nearby, which is what a pixel half covered by that neighbour's colour shows.

    Args:
        image: opaque colours in [0, 1].
    """
    height, width = image.shape[:2]
    border = np.ones((height, width), bool)
    rim = max(1, round(0.01 * max(height, width)))
    border[rim:-rim, rim:-rim] = False
    background = _plane_through(image, border)
    difference = np.abs(image - background).max(axis=-1)
    tolerance = float(np.clip(4 * np.median(difference[border]), _LEAST_TOLERANCE, _MOST_TOLERANCE))
    alike = difference <= tolerance
    if alike[border].mean() < _PLAIN_SHARE:
        return None

    outside = scipy.ndimage.binary_propagation(border & alike, mask=alike)
    inside = without_specks(_without_scenery(~outside, border))
    reach = max(1, round(max(height, width) / 400))
    band = scipy.ndimage.binary_dilation(outside, np.ones((3, 3)), iterations=reach) & inside
    nearby = scipy.ndimage.maximum_filter(difference, size=2 * reach + 3)
    soft = np.clip(difference / np.maximum(nearby, tolerance), 0, 1)
    return Matte(np.where(band, soft, inside).astype(np.float32), background)


def _plane_through(image: Float[np.ndarray, "h w 3"], border: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Fits colour as a linear function of place to most of the border: what is far from its median does not count."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    basis = np.stack([np.ones_like(rows), rows, columns], axis=-1).astype(np.float32)
    background = np.broadcast_to(np.median(image[border], axis=0), image.shape)
    for reach in (2 * _MOST_TOLERANCE, _MOST_TOLERANCE):
        near = border & (np.abs(image - background).max(axis=-1) <= reach)
        if near.sum() > 3:
            background = basis @ np.linalg.lstsq(basis[near], image[near], rcond=None)[0]
    return np.clip(background, 0, 1).astype(np.float32)


def _without_scenery(visible: Bool[np.ndarray, "h w"], border: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Drops what the border cuts and is small beside the largest part: dark corners, a neighbour, a table's edge."""
    parts, count = scipy.ndimage.label(visible, structure=np.ones((3, 3)))
    if count < 2:
        return visible
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    cut = np.zeros(len(areas), bool)
    cut[np.unique(parts[border])] = True
    return ~(cut & (areas < _SCENERY * areas.max()))[parts] & visible


def without_specks(visible: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Drops the parts that are under a thousandth of the largest part: dust would decide the bounding box."""
    parts, count = scipy.ndimage.label(visible, structure=np.ones((3, 3)))
    if count < 2:
        return visible
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return (areas >= _SPECK * areas.max())[parts] & visible
