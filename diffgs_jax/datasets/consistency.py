"""Whether a record's views agree about one world, measured with what the record has: depth, silhouettes, or features.

Each measure is a part in [0, 1] that is near 1 for right poses, whatever the scene, and far below for wrong ones.
"""

from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt, minimum_filter

from diffgs_jax.data.images import decode_premultiplied
from diffgs_jax.data.maps import decode_depth
from diffgs_jax.data.records import Record
from diffgs_jax.datasets.opencv import opencv
from diffgs_jax.datasets.reprojection import look_up, project_points, unproject_depth
from diffgs_jax.errors import DataError
from diffgs_jax.files.images import decode_image
from diffgs_jax.geometry import Cameras

_POINTS = 2000
_TOLERANCE = 0.02
"""How much nearer than the surface a point may seem, relative to its depth: rounding and slanted pixels."""
_GRID = 40
_SIDE = 128
_NEIGHBOURS = 4
_EPIPOLAR = 0.01
"""How far from its epipolar line a match may be, as a fraction of the image's side."""
_LEAST_MATCHES = 30


class Agreement(NamedTuple):
    """How well the views of a record agree.

    Attributes:
        score: part of what was looked at that agrees.
        enough: the score from which the poses make sense.
        what: what was looked at, to complete "99.7 % …".
    """

    score: float
    enough: float
    what: str

    @property
    def makes_sense(self) -> bool:
        """Whether the score is high enough."""
        return self.score >= self.enough


def agreement(record: Record, most_views: int = 16) -> Agreement:
    """Returns how well the views agree, by the strongest measure the record allows.

    Args:
        record: at least two views.
        most_views: how many views, evenly spread, are looked at.

    Raises:
        DataError: if there is nothing to compare: one view only, or too few features that match.
        UserError: if features have to be matched and OpenCV is not installed.
    """
    chosen = np.unique(np.linspace(0, len(record.images) - 1, min(most_views, len(record.images))).astype(int)).tolist()
    cameras = Cameras(*(np.asarray(array)[chosen] for array in record.cameras))
    if len(chosen) < 2:
        raise DataError(f"record {record.uid} has one view only: nothing to compare")
    silhouettes = None
    if record.domain == "object":
        alphas = [decode_premultiplied(record.images[view])[..., 3] for view in chosen]
        silhouettes = alphas if min(int(alpha.min()) for alpha in alphas) < 255 else None
    if "depth" in record.maps:
        depth = decode_depth(record.maps["depth"], chosen)
        return _depth_agreement(depth, cameras, silhouettes)
    if silhouettes is not None:
        return _silhouette_agreement(silhouettes, cameras)
    # Consecutive frames: those of a video far apart have little in common.
    return _feature_agreement(record)


def _depth_agreement(depth: np.ndarray, cameras: Cameras, silhouettes: list[np.ndarray] | None) -> Agreement:
    """Unprojects every view; no point may lie in front of what another view sees, nor where an object is not."""
    agree = total = 0
    poses, intrinsics = (np.asarray(array) for array in cameras)
    for source, view in enumerate(depth):
        stride = max(1, int(np.sqrt(np.isfinite(view).sum() / _POINTS)))
        points = unproject_depth(view, poses[source], intrinsics[source], stride)
        for target in range(len(depth)):
            if target == source:
                continue
            places, z = project_points(points, poses[target], intrinsics[target])
            inside = (z > 0) & (places >= 0).all(axis=1) & (places < 1).all(axis=1)
            if silhouettes is not None:
                found = look_up(silhouettes[target].astype(np.float64), places[inside], 0.0)
                agree, total = agree + int((found > 0).sum()), total + int(inside.sum())
            # The nearest surface in a pixel's neighbourhood, because a point is seen between pixel centres.
            surface = minimum_filter(np.nan_to_num(depth[target], nan=np.inf), size=3)
            seen = look_up(surface, places[inside], np.inf)
            known = np.isfinite(seen)
            agree += int((z[inside][known] > seen[known] * (1 - _TOLERANCE)).sum())
            total += int(known.sum())
    if not total:
        return Agreement(0.0, 0.95, "of the views see anything of another")
    return Agreement(agree / total, 0.95, "of unprojected depth fits into the other views")


def _silhouette_agreement(alphas: list[np.ndarray], cameras: Cameras) -> Agreement:
    """Carves the visual hull; where the poses are right, it fills every silhouette again."""
    masks = [np.asarray(Image.fromarray(alpha).resize((_SIDE, _SIDE), Image.Resampling.BOX)) > 32 for alpha in alphas]
    outside = [distance_transform_edt(~mask) for mask in masks]
    poses, intrinsics = (np.asarray(array) for array in cameras)
    axis = np.linspace(-1.05, 1.05, _GRID)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    cell = axis[1] - axis[0]
    kept = np.ones(len(grid), bool)
    seen = []
    for view, distance in enumerate(outside):
        places, depth = project_points(grid, poses[view], intrinsics[view])
        pixels = cell * float(intrinsics[view][0]) * _SIDE / np.maximum(depth, 1e-6)
        # A point that the image's edge cuts off is not known to be outside.
        edge = np.clip(places, 0.5 / _SIDE, 1 - 0.5 / _SIDE)
        kept &= (depth > 0) & (look_up(distance, edge, np.inf) <= pixels / 2)
        seen.append((places, pixels))
    covered = []
    for mask, (places, pixels) in zip(masks, seen, strict=True):
        drawn = np.zeros((_SIDE, _SIDE), bool)
        hull = kept & (places >= 0).all(axis=1) & (places < 1).all(axis=1)
        drawn[(places[hull, 1] * _SIDE).astype(int), (places[hull, 0] * _SIDE).astype(int)] = True
        near = distance_transform_edt(~drawn) <= (pixels[hull].max() if hull.any() else 0)
        covered.append((near & mask).sum() / max(1, mask.sum()))
    return Agreement(float(np.mean(covered)), 0.9, "of the silhouettes is filled by the hull of them all")


def _feature_agreement(record: Record) -> Agreement:
    """Matches features of nearby frames; a match must lie on its epipolar line and in front of both cameras."""
    cv2 = opencv()
    views = len(record.images)
    first = np.unique(np.linspace(0, views - 2, min(8, views - 1)).astype(int))
    pairs = [(int(view), min(views - 1, int(view) + _NEIGHBOURS)) for view in first]
    features: dict[int, Any] = {}
    agree = total = 0
    for pair in pairs:
        for view in pair:
            if view not in features:
                features[view] = _features(cv2, record.images[view])
        matches = _matches(cv2, features[pair[0]], features[pair[1]])
        if len(matches[0]):
            good = _on_epipolar_lines(*matches, record.cameras, pair)
            agree, total = agree + int(good.sum()), total + len(good)
    if total < _LEAST_MATCHES:
        raise DataError(
            f"record {record.uid}: only {total} features match between its views, too few to judge its poses"
        )
    return Agreement(agree / total, 0.5, "of the matched features lie on their epipolar lines")


def _features(cv2: Any, encoded: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    gray = np.asarray(decode_image(encoded, "a view").convert("L"))
    found, descriptors = cv2.SIFT_create(nfeatures=1500).detectAndCompute(gray, None)
    places = np.asarray([one.pt for one in found], np.float64).reshape(-1, 2)
    # OpenCV counts from the first pixel's centre.
    return (places + 0.5) / np.asarray(gray.shape[::-1]), descriptors


def _matches(cv2: Any, first: tuple, second: tuple) -> tuple[np.ndarray, np.ndarray]:
    (places, descriptors), (others, their_descriptors) = first, second
    if descriptors is None or their_descriptors is None or min(len(places), len(others)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    # Lowe's ratio test (2004).
    pairs = cv2.BFMatcher().knnMatch(descriptors, their_descriptors, k=2)
    good = [best for best, next_best in pairs if best.distance < 0.7 * next_best.distance]
    return places[[one.queryIdx for one in good]], others[[one.trainIdx for one in good]]


def _on_epipolar_lines(first: np.ndarray, second: np.ndarray, cameras: Cameras, pair: tuple[int, int]) -> np.ndarray:
    """Returns which matches the poses allow: |xᵀ E x'| small in images' units, and depths positive."""
    poses = [np.asarray(cameras.camera_to_world[view], np.float64) for view in pair]
    intrinsics = [np.asarray(cameras.intrinsics[view], np.float64) for view in pair]
    rays = [
        np.concatenate([(places - k[2:]) / k[:2], np.ones((len(places), 1))], axis=1)
        for places, k in zip((first, second), intrinsics, strict=True)
    ]
    relative = np.linalg.inv(poses[1]) @ poses[0]
    rotation, shift = relative[:3, :3], relative[:3, 3]
    turned = rays[0] @ rotation.T
    normal = np.cross(shift, turned)  # of the epipolar plane, in the second camera's axes
    line = normal[:, :2] / intrinsics[1][:2]
    distance = np.abs(np.sum(normal * rays[1], axis=1)) / np.maximum(np.linalg.norm(line, axis=1), 1e-12)
    # z₀ and z₁ of z₀ · turned + shift = z₁ · ray: crossed with either ray.
    across = np.cross(turned, rays[1])
    size = np.maximum(np.sum(across**2, axis=1), 1e-18)
    z0 = -np.sum(np.cross(shift, rays[1]) * across, axis=1) / size
    z1 = np.sum(np.cross(turned, shift) * across, axis=1) / size
    far = np.sqrt(size) < 1e-3 * np.linalg.norm(turned, axis=1) * np.linalg.norm(rays[1], axis=1)
    return (distance < _EPIPOLAR) & (far | ((z0 > 0) & (z1 > 0)))
