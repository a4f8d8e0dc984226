"""The field whose zero level is the surface: positive inside, on a grid around the object."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter

from diffgs_jax.errors import DataError
from diffgs_jax.meshing.observing import PLANE_SPACING, Observations, least_alpha, least_cover

_COARSE = 48  # voxels along the unit sphere's diameter when the object is looked for
_CHUNK = 2**17  # points at a time
_FAINT = 0.25  # no level is chosen under it
_ALPHA_LEVELS = np.linspace(0.3, 0.6, 16)
_COVER_LEVELS = (0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
_WORTH = 0.005  # of IoU that cutting by depth may cost
_SILHOUETTES = 10  # views whose silhouettes decide
_SMOOTHING = 1.0  # voxels; what is seen through a splat's surface is ragged
_SILHOUETTE_ROWS = 64  # of them, about


class Field(NamedTuple):
    """Values on a grid.

    Attributes:
        values: `[x, y, z]`, positive inside the object; negative at the border.
        origin: `[3]` where the first value is.
        voxel: distance between neighbours.
    """

    values: Float[np.ndarray, "x y z"]
    origin: Float[np.ndarray, "3"]
    voxel: float


def carve(seen: Observations, resolution: int) -> Field:
    """Returns the field of what the views show.

    Args:
        seen: pictures of the unit sphere's inside.
        resolution: voxels along the object's longest side.

    Raises:
        DataError: if nothing is half opaque.
    """
    # Where the object is
    start, spacing = np.full(3, -1.0), 2.0 / _COARSE
    coarse = _evaluated(lambda points: least_alpha(points, seen), _grid(start, spacing, (_COARSE + 1,) * 3))
    coarse = maximum_filter(coarse.reshape((_COARSE + 1,) * 3), size=3)
    inside = np.argwhere(coarse > _FAINT)
    if not len(inside) or float(seen.alphas.max()) <= 0.5:
        raise DataError("the splat is nowhere half opaque: there is no surface to mesh")
    low, high = (start + spacing * corner for corner in (inside.min(axis=0), inside.max(axis=0)))

    # How much every view shows of it there
    voxel = float((high - low).max() / resolution)
    shape = tuple(int(side) for side in np.ceil((high - low) / voxel) + 1)
    points = _grid(low, voxel, shape)
    near = map_coordinates(coarse, (points - start).T / spacing, order=0) > _FAINT
    hull = np.zeros(len(points), np.float32)
    hull[near] = _evaluated(lambda chunk: least_alpha(chunk, seen), points[near])
    cover = np.zeros_like(hull)
    inside = hull > _FAINT
    margin = PLANE_SPACING + voxel
    cover[inside] = _evaluated(lambda chunk: least_cover(chunk, seen, margin), points[inside])
    hull, cover = hull.reshape(shape), gaussian_filter(cover.reshape(shape), _SMOOTHING)

    # The levels whose silhouettes agree best
    views = [int(view) for view in np.linspace(0, len(seen.alphas) - 1, min(_SILHOUETTES, len(seen.alphas)))]
    rays = [_Rays.through(seen, view, low, voxel, shape) for view in views]
    peaks = [ray.highest(hull) for ray in rays]
    scores = [_agreement(rays, peaks, level) for level in _ALPHA_LEVELS]
    field, best = hull - _ALPHA_LEVELS[int(np.argmax(scores))], max(scores)
    for level in _COVER_LEVELS:
        cut = np.minimum(field, cover - level)
        if _agreement(rays, [ray.highest(cut) for ray in rays], 0.0) >= best - _WORTH:
            field = cut
            break
    field = np.pad(field, 1, constant_values=-0.5)  # the surface closes inside the grid
    return Field(field, low - voxel, voxel)


def _grid(origin: Float[np.ndarray, "3"], voxel: float, shape: tuple[int, ...]) -> Float[np.ndarray, "p 3"]:
    axes = [start + voxel * np.arange(count) for start, count in zip(origin, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _evaluated(function: Callable[[Array], Array], points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p"]:
    """Returns the function's values, asked for in pieces of one size: that bounds memory and compiles one program."""
    values = np.zeros(len(points), np.float32)
    for start in range(0, len(points), _CHUNK):
        chunk = points[start : start + _CHUNK]
        padded = np.pad(chunk, [(0, _CHUNK - len(chunk)), (0, 0)])
        values[start : start + _CHUNK] = np.asarray(function(jnp.asarray(padded, jnp.float32)))[: len(chunk)]
    return values


class _Rays(NamedTuple):
    """Some of a view's rays through the grid: the others see next to nothing and end nowhere.

    Attributes:
        samples: `[3, s, r]` places along them, in the grid's indices.
        covered: `[r]` whether the splat is more than half opaque there.
    """

    samples: Float[np.ndarray, "3 s r"]
    covered: Bool[np.ndarray, "r"]

    @classmethod
    def through(
        cls, seen: Observations, view: int, origin: Float[np.ndarray, "3"], voxel: float, shape: tuple[int, ...]
    ) -> "_Rays":
        size = seen.alphas.shape[1]
        stride = max(1, size // _SILHOUETTE_ROWS)
        alpha = np.asarray(seen.alphas[view])[::stride, ::stride]
        rows, columns = (stride * axis[alpha > _FAINT] + 0.5 for axis in np.indices(alpha.shape))
        fx, fy, cx, cy = np.asarray(seen.cameras.intrinsics[view], np.float64)
        pose = np.asarray(seen.cameras.camera_to_world[view], np.float64)
        directions = np.stack([(columns / size - cx) / fx, (rows / size - cy) / fy, np.ones_like(rows)], axis=-1)
        directions = directions @ pose[:3, :3].T
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        middle = origin + voxel * (np.asarray(shape) - 1) / 2
        half = voxel * np.linalg.norm(shape) / 2
        along = np.linalg.norm(middle - pose[:3, 3]) + np.arange(-half, half, 2 * voxel)
        points = pose[:3, 3] + along[:, None, None] * directions[None]
        return cls(np.moveaxis((points - origin) / voxel, -1, 0), alpha[alpha > _FAINT] > 0.5)

    def highest(self, values: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "r"]:
        """Returns the largest value that each ray meets."""
        return map_coordinates(values, self.samples, order=1, mode="constant", cval=-1.0).max(axis=0, initial=-1.0)


def _agreement(rays: Sequence[_Rays], peaks: Sequence[Float[np.ndarray, "..."]], level: float) -> float:
    """Returns the mean IoU of the splat's silhouettes and those of what lies above a level."""
    overlaps = []
    for ray, peak in zip(rays, peaks, strict=True):
        union = np.count_nonzero((peak > level) | ray.covered)
        overlaps.append(np.count_nonzero((peak > level) & ray.covered) / union if union else 1.0)
    return float(np.mean(overlaps))
