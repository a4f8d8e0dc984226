"""Depth and the normals that follow from it, as pictures."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from diffgs_jax.geometry import Cameras

_SMOOTHING = 1 / 64  # of a picture's side: rendered depth is as ragged as the Gaussians, and slopes are raggeder
_EMPTY = 0.02  # alpha under which nothing is there

# From far to near: lightness rises all the way, so that it reads in grey and to colour-blind eyes as well.
_COLORS = np.asarray(
    [
        (0.10, 0.06, 0.28),
        (0.16, 0.24, 0.52),
        (0.13, 0.45, 0.56),
        (0.27, 0.66, 0.50),
        (0.68, 0.82, 0.35),
        (1, 0.94, 0.62),
    ]
)


def depth_colors(
    depths: Float[np.ndarray, "*batch h w"], alphas: Float[np.ndarray, "*batch h w"]
) -> Float[np.ndarray, "*batch h w 3"]:
    """Returns depths as colours from dark blue (far) to light yellow (near), in [0, 1].

    The range is that of all the pictures together, so that a colour means the same in each; what is beyond the 1st and
    the 99th percentile of the covered pixels is drawn like them.

    Args:
        depths: world units.
        alphas: coverage in [0, 1].
    """
    covered = depths[alphas > 0.5] if (alphas > 0.5).any() else depths[alphas > _EMPTY]
    near, far = np.percentile(covered, [1, 99]) if len(covered) else (0.0, 1.0)
    nearness = np.clip((far - depths) / max(far - near, 1e-9), 0.0, 1.0)
    stops = np.linspace(0, 1, len(_COLORS))
    return np.stack([np.interp(nearness, stops, channel) for channel in _COLORS.T], axis=-1)


def normals_from_depth(
    depth: Float[np.ndarray, "h w"], alpha: Float[np.ndarray, "h w"], camera: Cameras
) -> Float[np.ndarray, "h w 3"]:
    """Returns the unit normals of the surface that a depth map shows, in world axes, towards the camera.

    Depth is smoothed over about a 64th of the picture's side first, without mixing in what is empty. A pixel where
    nothing is reads 0.

    Args:
        depth: z along the camera's axis, world units.
        alpha: coverage in [0, 1]; where it is small, depth counts little.
        camera: one, without batch axes.
    """
    height, width = depth.shape
    sigma = _SMOOTHING * max(height, width)
    weight = np.where(alpha > _EMPTY, alpha, 0.0).astype(np.float64)
    spread = gaussian_filter(weight, sigma)
    smooth = gaussian_filter(weight * depth, sigma) / np.maximum(spread, 1e-12)
    fx, fy, cx, cy = np.asarray(camera.intrinsics, np.float64)
    rows, columns = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    points = smooth[..., None] * np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(depth)], axis=-1)
    present = spread > 1e-3
    down, right = _slopes(points, present, axis=0), _slopes(points, present, axis=1)
    normals = np.cross(right, down)  # x right, y down, z forward: away from the camera
    normals *= np.where(np.sum(normals * points, axis=-1, keepdims=True) > 0, -1.0, 1.0)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    unit = np.where((length > 1e-20) & (weight[..., None] > 0), normals / np.maximum(length, 1e-20), 0.0)
    return unit @ np.asarray(camera.camera_to_world, np.float64)[:3, :3].T


def normal_colors(normals: Float[np.ndarray, "*batch h w 3"]) -> Float[np.ndarray, "*batch h w 3"]:
    """Returns normals as colours in [0, 1]: red, green and blue are x, y and z, grey where there is none."""
    return 0.5 + 0.5 * normals


def _slopes(
    points: Float[np.ndarray, "h w 3"], present: Bool[np.ndarray, "h w"], axis: int
) -> Float[np.ndarray, "h w 3"]:
    """Returns differences along an axis: central where both neighbours are present, else towards the one that is."""
    steps = np.diff(points, axis=axis)
    both = np.take(present, range(1, present.shape[axis]), axis) & np.take(
        present, range(present.shape[axis] - 1), axis
    )
    before, after = (
        [(1, 0) if at == axis else (0, 0) for at in range(2)],
        [(0, 1) if at == axis else (0, 0) for at in range(2)],
    )
    total, count = np.zeros_like(points), np.zeros(present.shape)
    for pad in (before, after):
        there = np.pad(both, pad)
        total += np.where(there[..., None], np.pad(steps, [*pad, (0, 0)]), 0.0)
        count += there
    return total / np.maximum(count, 1)[..., None]
