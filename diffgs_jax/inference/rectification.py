"""Pictures as upright cameras see them that look at the object's centre, which is what models of turntables know.

Another camera at the same place sees the same rays, so this only resamples the picture: roll and aim are made up for,
and nothing is lost but what interpolation costs.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.geometry import Cameras, look_at

_TURNED = 0.5
"""Degrees from which a picture is resampled."""
_OFF_CENTER = 0.01
"""Of its side, by which a picture's middle may miss the optical axis, and its sides' focal lengths each other."""


def rectified(pixels: UInt8[np.ndarray, "s s 4"], cameras: Cameras) -> tuple[Float[np.ndarray, "s s 4"], Cameras]:
    """Returns a picture and its camera, looking at the origin, upright; as they are if the camera nearly does that.

    Args:
        pixels: RGBA, colours multiplied by their alpha.
        cameras: one, `[]`, z up, the object about the origin.

    Returns:
        The picture in [0, 1], multiplied likewise: what is rounded again would depend on rounding.
    """
    values = pixels.astype(np.float32) / 255
    pose = np.asarray(cameras.camera_to_world, np.float64)
    fx, fy, cx, cy = np.asarray(cameras.intrinsics, np.float64)
    upright = look_at(pose[:3, 3]).astype(np.float64)
    turn = pose[:3, :3].T @ upright[:3, :3]
    degrees = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0)))
    is_centered = max(abs(cx - 0.5), abs(cy - 0.5), abs(fx / fy - 1)) <= _OFF_CENTER
    if degrees <= _TURNED and is_centered:
        return values, cameras
    side, focal = len(pixels), float(np.sqrt(fx * fy))
    place = ((np.arange(side) + 0.5) / side - 0.5) / focal
    x, y = np.meshgrid(place, place)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ turn.T
    depth = np.where(rays[..., 2] > 1e-6, rays[..., 2], np.nan)
    column, row = rays[..., 0] / depth * fx + cx, rays[..., 1] / depth * fy + cy
    # What the picture does not show is taken to be empty.
    places = [np.where(np.isfinite(one), one * side - 0.5, -9.0) for one in (row, column)]
    channels = [scipy.ndimage.map_coordinates(values[..., i], places, order=1, mode="constant") for i in range(4)]
    intrinsics = np.asarray([focal, focal, 0.5, 0.5], np.float32)
    return np.stack(channels, axis=-1), Cameras(upright.astype(np.float32), intrinsics)


def at_size(values: Float[np.ndarray, "s s 4"], side: int) -> Float[np.ndarray, "{side} {side} 4"]:
    """Returns a picture at another size: by area where that is smaller, bilinearly where it is larger."""
    resampling = Image.Resampling.BOX if side < len(values) else Image.Resampling.BILINEAR
    channels = [
        Image.fromarray(np.ascontiguousarray(values[..., i])).resize((side, side), resampling) for i in range(4)
    ]
    return np.stack([np.asarray(one) for one in channels], axis=-1)
