"""Where an object is and how large, from what its views show: depth where there is some, silhouettes otherwise."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt

from diffgs_jax.datasets.reprojection import look_up, project_points, unproject_depth
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras, normalize_points

_GRID = 56
_AGREEING = 0.95
"""Part of the views whose silhouette must hold a point of the hull; masks of photographs are not perfect."""


def frame_from_depth(
    depth: Float[np.ndarray, "n h w"], cameras: Cameras, stride: int = 1
) -> tuple[Float[np.ndarray, "3"], float]:
    """Returns (offset, scale) that bring the visible surface into the object frame: `(points + offset) * scale`.

    Args:
        depth: planar z, world units; NaN where there is none.
        cameras: `[n]`.
        stride: every how manieth pixel is looked at.

    Raises:
        DataError: if no pixel has a depth.
    """
    views = zip(depth, cameras.camera_to_world, cameras.intrinsics, strict=True)
    points = [unproject_depth(view, pose, intrinsics, stride) for view, pose, intrinsics in views]
    return _normalize(np.concatenate(points), "its depth maps show nothing")


def frame_from_silhouettes(
    masks: Sequence[Bool[np.ndarray, "_ _"]], cameras: Cameras, *, turned: bool = False
) -> tuple[Float[np.ndarray, "3"], float]:
    """Returns (offset, scale) that bring the visual hull into the object frame: `(points + offset) * scale`.

    The hull is what is inside the silhouettes of all views, carved out of a grid that is drawn twice, the second time
    around what was found. A grid point stands for its cell, or what is thinner than one would be lost. What an
    image's edge cuts off is not known, so it does not speak against a point there.

    Args:
        masks: one for each view, of any size.
        cameras: `[n]`.
        turned: as `SourceOptions.turned_frame`.

    Raises:
        DataError: if a mask is empty, or the silhouettes have no point in common.
    """
    for view, mask in enumerate(masks):
        if not mask.any():
            raise DataError(f"view {view} has an empty mask")
    center, radius = _first_guess(masks, cameras)
    turn = _turn_to_first(cameras, center) if turned else np.eye(3)
    center, cameras = turn @ center, _turned(cameras, turn)
    low, high = center - radius, center + radius
    outside = [distance_transform_edt(~mask) for mask in masks]
    for _ in range(2):
        axes = [np.linspace(low[axis], high[axis], _GRID) for axis in range(3)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        step = (high - low) / (_GRID - 1)
        reach = float(np.linalg.norm(step)) / 2
        hull = grid[_inside(grid, reach, outside, cameras) >= _AGREEING]
        if not len(hull):
            raise DataError("its silhouettes have no point in common: the poses or the masks are wrong")
        low, high = hull.min(axis=0) - step, hull.max(axis=0) + step
    offset, scale = _normalize(hull, "its visual hull has no extent")
    # Cells that only touch the hull stand out of it by up to `reach`.
    return turn.T @ offset, 1 / max(1 / scale - reach, 0.5 / scale)


def _turn_to_first(cameras: Cameras, center: np.ndarray) -> np.ndarray:
    """Returns the rotation about z after which the first camera is at azimuth 0 of the centre."""
    x, y = (np.asarray(cameras.camera_to_world, np.float64)[0, :3, 3] - center)[:2]
    angle = np.arctan2(y, x)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _turned(cameras: Cameras, turn: np.ndarray) -> Cameras:
    poses = np.array(cameras.camera_to_world, np.float64)
    poses[:, :3] = turn @ poses[:, :3]
    return cameras._replace(camera_to_world=poses)


def _normalize(points: np.ndarray, otherwise: str) -> tuple[np.ndarray, float]:
    try:
        return normalize_points(points)
    except ValueError:
        raise DataError(otherwise) from None


def _first_guess(masks: Sequence[np.ndarray], cameras: Cameras) -> tuple[np.ndarray, float]:
    """Returns the point nearest to the rays through the masks' centroids, and a radius that holds all silhouettes."""
    origins = np.asarray(cameras.camera_to_world, np.float64)[:, :3, 3]
    middle, corners = [], []
    for mask, pose, intrinsics in zip(masks, cameras.camera_to_world, cameras.intrinsics, strict=True):
        rows, columns = np.nonzero(mask)
        box = np.asarray([[x, y] for x in (columns.min(), columns.max() + 1) for y in (rows.min(), rows.max() + 1)])
        places = np.concatenate([[[columns.mean() + 0.5, rows.mean() + 0.5]], box]) / mask.shape[::-1]
        fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
        local = np.stack([(places[:, 0] - cx) / fx, (places[:, 1] - cy) / fy, np.ones(5)], axis=-1)
        directions = local @ np.asarray(pose, np.float64)[:3, :3].T
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        middle.append(directions[0])
        corners.append(directions[1:])
    # Least squares: Σ (I − d dᵀ)(p − o) = 0.
    across = np.eye(3) - np.einsum("ni,nj->nij", middle, middle)
    try:
        center = np.linalg.solve(across.sum(axis=0), np.einsum("nij,nj->i", across, origins))
    except np.linalg.LinAlgError:
        raise DataError("all its cameras look along one line") from None
    ahead = np.einsum("ni,ni->n", center - origins, middle) > 0
    if ahead.mean() < 0.5:
        raise DataError(
            "most of its cameras look away from the point that their axes meet in (check of the viewing direction): "
            "are their axes another program's, with z pointing the other way?"
        )
    distance = np.linalg.norm(origins - center, axis=1)
    sine = np.linalg.norm(np.cross(np.stack(corners), np.stack(middle)[:, None]), axis=-1).max(axis=1)
    return center, float(1.3 * (distance * sine).max())


def _inside(points: np.ndarray, reach: float, outside: Sequence[np.ndarray], cameras: Cameras) -> np.ndarray:
    """Returns in what part of the views each point is no farther than `reach` from the silhouette.

    Args:
        points: `[n, 3]`, world units.
        reach: world units.
        outside: for each view, how many pixels each of its pixels is away from the silhouette.
        cameras: `[n]`.
    """
    votes = np.zeros(len(points))
    for distance, pose, intrinsics in zip(outside, cameras.camera_to_world, cameras.intrinsics, strict=True):
        places, depth = project_points(points, pose, intrinsics)
        size = np.asarray(distance.shape[::-1])
        # Outside the image the nearest pixel of its edge answers.
        pixels = look_up(distance, np.clip(places, 0.5 / size, 1 - 0.5 / size), np.inf)
        votes += (depth > 0) & (pixels <= reach * float(intrinsics[0]) * size[0] / np.maximum(depth, 1e-12))
    return votes / len(outside)
