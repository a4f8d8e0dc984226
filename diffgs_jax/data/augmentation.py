"""Random changes of a sample's images together with its cameras: a mirror, turned cameras, cut-out windows.

A change keeps projection true: a point that was seen at a pixel is seen at the pixel's new place by the
new camera, in a world that is the old one or, in a mirror, its reflection.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from diffgs_jax.data.config import CameraAugmentation
from diffgs_jax.data.images import Images, resize_premultiplied
from diffgs_jax.geometry import OBJECT, Cameras

Maps = list[Float[np.ndarray, "_ _ *c"] | None]
"""One value or vector a pixel, NaN where there is none, for each view; None for views without."""


class Change(NamedTuple):
    """What happens to the `v` views of one sample.

    Attributes:
        flip: whether all of it is mirrored.
        roll: `[v]`, turn of each camera about its optical axis, radians.
        window: `[v, 3]`, left, top and side of the part of each image that stays, as fractions; the camera was
            turned before.
    """

    flip: bool
    roll: Float[np.ndarray, "v"]
    window: Float[np.ndarray, "v 3"]


def draw_change(settings: CameraAugmentation, views: int, domain: int, random: np.random.Generator) -> Change:
    """Draws the change of one sample.

    Args:
        settings: how much may change.
        views: how many views the sample has.
        domain: `OBJECT` or `SCENE`; cameras in scenes are not turned.
        random: where the draws come from.
    """
    flip = bool(random.random() < settings.flip)
    roll = random.uniform(-1.0, 1.0, views) * np.radians(settings.roll if domain == OBJECT else 0.0)
    side = random.uniform(settings.crop, 1.0, views)
    corner = random.random((views, 2)) * (1.0 - side[:, None])
    return Change(flip, roll, np.concatenate([corner, side[:, None]], axis=1))


def change_cameras(change: Change, cameras: Cameras, domain: int) -> Cameras:
    """Returns the cameras `[v]` that see what `change_images` returns.

    The mirror stands where it leaves the first condition camera in place: in the plane of the z axis and an object's
    azimuth 0, or across the x axis of a scene's frame.
    """
    poses = np.asarray(cameras.camera_to_world, np.float64)
    fx, fy, cx, cy = np.asarray(cameras.intrinsics, np.float64).T
    turn = np.tile(np.eye(4), (len(poses), 1, 1))
    turn[:, 0, 0], turn[:, 0, 1] = np.cos(change.roll), -np.sin(change.roll)
    turn[:, 1, 0], turn[:, 1, 1] = np.sin(change.roll), np.cos(change.roll)
    poses = poses @ turn
    left, top, side = change.window.T
    fx, fy, cx, cy = fx / side, fy / side, (cx - left) / side, (cy - top) / side
    if change.flip:
        poses, cx = _mirror(domain) @ poses @ np.diag([-1.0, 1.0, 1.0, 1.0]), 1.0 - cx
    return Cameras(poses.astype(np.float32), np.stack([fx, fy, cx, cy], axis=-1).astype(np.float32))


def change_images(change: Change, images: Images, intrinsics: Float[np.ndarray, "v 4"], resolution: int) -> Images:
    """Returns the changed images.

    Args:
        change: of `draw_change`.
        images: one for each view, of any size.
        intrinsics: of the cameras before the change; images turn about the principal point.
        resolution: the size to bring them to.
    """
    changed = []
    for pixels, roll, window, camera in zip(images, change.roll, change.window, intrinsics, strict=True):
        image = Image.frombuffer("RGBa", pixels.shape[1::-1], np.ascontiguousarray(pixels), "raw", "RGBa", 0, 1)
        if roll:
            # The transparent black that fills the corners is nothing at all in premultiplied colours.
            coefficients = _roll_about_principal_point(float(roll), camera, image.width)
            bilinear = Image.Resampling.BILINEAR
            image = image.transform(image.size, Image.Transform.AFFINE, coefficients, bilinear)
        pixels = np.asarray(resize_premultiplied(image, resolution, tuple(window.tolist())))
        changed.append(pixels[:, ::-1] if change.flip else pixels)
    return changed


def change_maps(change: Change, maps: Maps, intrinsics: Float[np.ndarray, "v 4"], resolution: int) -> Maps:
    """Returns the changed maps, depth for one: each pixel's value from the stored one that it now shows.

    Args:
        change: of `draw_change`.
        maps: one for each view, of any size, or None.
        intrinsics: of the cameras before the change.
        resolution: the size to bring them to.

    Returns:
        Maps of that size, NaN in the corners that no stored pixel was in.
    """
    centers = (np.arange(resolution) + 0.5) / resolution
    changed: Maps = []
    for values, roll, window, camera in zip(maps, change.roll, change.window, intrinsics, strict=True):
        if values is None:
            changed.append(None)
            continue
        (left, top, side), (fx, fy, cx, cy) = window, np.asarray(camera, np.float64)
        across = left + side * (centers[::-1] if change.flip else centers)
        x, y = np.meshgrid((across - cx) / fx, (top + side * centers - cy) / fy)
        cos, sin = np.cos(roll), np.sin(roll)
        column = np.floor((cx + fx * (cos * x - sin * y)) * len(values)).astype(int)
        row = np.floor((cy + fy * (sin * x + cos * y)) * len(values)).astype(int)
        last = len(values) - 1
        outside = (np.minimum(row, column) < 0) | (np.maximum(row, column) > last)
        shown = values[np.clip(row, 0, last), np.clip(column, 0, last)]
        shown[outside] = np.nan
        changed.append(shown)
    return changed


def change_normals(
    change: Change, normals: Maps, intrinsics: Float[np.ndarray, "v 4"], resolution: int, domain: int
) -> Maps:
    """Returns the changed maps of normals, in the world that `change_cameras` makes.

    Args:
        change: of `draw_change`.
        normals: one for each view, `[t, t, 3]` in world axes, or None.
        intrinsics: of the cameras before the change.
        resolution: the size to bring them to.
        domain: `OBJECT` or `SCENE`.
    """
    changed = change_maps(change, normals, intrinsics, resolution)
    if not change.flip:
        return changed
    signs = np.diag(_mirror(domain))[:3].astype(np.float32)
    return [None if one is None else one * signs for one in changed]


def _mirror(domain: int) -> Float[np.ndarray, "4 4"]:
    return np.diag([1.0, -1.0, 1.0, 1.0] if domain == OBJECT else [-1.0, 1.0, 1.0, 1.0])


def _roll_about_principal_point(roll: float, intrinsics: np.ndarray, size: int) -> tuple[float, ...]:
    """Returns (a, b, c, d, e, f): output pixel (x, y) shows what was at (a x + b y + c, d x + e y + f)."""
    fx, fy, cx, cy = np.asarray(intrinsics, np.float64) * size
    cos, sin = np.cos(roll), np.sin(roll)
    a, b, d, e = cos, -sin * fx / fy, sin * fy / fx, cos
    return tuple(float(value) for value in (a, b, cx - a * cx - b * cy, d, e, cy - d * cx - e * cy))
