"""Points from depth and pixels from points, on the host: pinhole cameras, OpenCV axes, normalised intrinsics."""

import numpy as np
from jaxtyping import Float

from diffgs_jax.geometry import Cameras


def unproject_depth(
    depth: Float[np.ndarray, "h w"],
    camera_to_world: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "4"],
    stride: int = 1,
) -> Float[np.ndarray, "n 3"]:
    """Returns the world points of the pixels that have a depth, row by row, float64.

    Args:
        depth: planar z, world units; not finite or not positive where there is none.
        camera_to_world: the view's pose.
        intrinsics: (fx, fy, cx, cy) as fractions of width and height.
        stride: every how manieth row and column is taken.
    """
    height, width = depth.shape
    rows, columns = np.mgrid[0:height:stride, 0:width:stride]
    z = np.asarray(depth[::stride, ::stride], np.float64)
    valid = np.isfinite(z) & (z > 0)
    fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
    x = ((columns[valid] + 0.5) / width - cx) / fx
    y = ((rows[valid] + 0.5) / height - cy) / fy
    pose = np.asarray(camera_to_world, np.float64)
    return (np.stack([x, y, np.ones_like(x)], axis=-1) * z[valid][:, None]) @ pose[:3, :3].T + pose[:3, 3]


def project_points(
    points: Float[np.ndarray, "n 3"], camera_to_world: Float[np.ndarray, "4 4"], intrinsics: Float[np.ndarray, "4"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Returns where points are seen, (x, y) as fractions of width and height, and their planar depth.

    Args:
        points: world units.
        camera_to_world: the view's pose.
        intrinsics: (fx, fy, cx, cy) as fractions of width and height.
    """
    pose = np.linalg.inv(np.asarray(camera_to_world, np.float64))
    local = np.asarray(points, np.float64) @ pose[:3, :3].T + pose[:3, 3]
    depth = local[:, 2]
    safe = np.where(np.abs(depth) > 1e-12, depth, 1e-12)[:, None]
    scale, center = np.asarray(intrinsics[:2], np.float64), np.asarray(intrinsics[2:], np.float64)
    return local[:, :2] / safe * scale + center, depth


def look_up(
    image: Float[np.ndarray, "h w"], places: Float[np.ndarray, "n 2"], outside: float = np.nan
) -> Float[np.ndarray, "n"]:
    """Returns an image's values at the pixels that hold the given places.

    Args:
        image: any values.
        places: (x, y) as fractions of width and height.
        outside: what is returned for places outside the image.
    """
    height, width = image.shape
    inside = np.isfinite(places).all(axis=1) & (places >= 0).all(axis=1) & (places < 1).all(axis=1)
    found = np.full(len(places), outside, np.float64)
    column = (places[inside, 0] * width).astype(int)
    row = (places[inside, 1] * height).astype(int)
    found[inside] = image[row, column]
    return found


def move_world(cameras: Cameras, offset: Float[np.ndarray, "3"], scale: float) -> Cameras:
    """Returns the cameras of a world whose points were moved and scaled: `(points + offset) * scale`.

    Args:
        cameras: `[n]`.
        offset: world units.
        scale: positive; depths grow by it too.
    """
    poses = np.array(cameras.camera_to_world, np.float64)
    poses[:, :3, 3] = (poses[:, :3, 3] + offset) * scale
    return Cameras(poses.astype(np.float32), np.asarray(cameras.intrinsics, np.float32))
