"""Where Gaussians are before the first step: on surfaces that depth or silhouettes show, or anywhere."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion, maximum_filter
from scipy.spatial import KDTree

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.geometry.spherical_harmonics import BAND_0
from diffgs_jax.optimization.config import FitConfig
from diffgs_jax.optimization.posed_images import PosedImages

_GRID = 48
"""Voxels along a side of the box in which the hull is looked for."""
_ROUNDS = 2
"""How often it is: the second time around what was found."""
_AGREEING = 0.97
"""Part of the images that must show something at a point of the hull."""
_CONTRADICTED = 0.15
"""Part of the images that see a point which must see it in the background, for it to be outside."""
_SEEN = 0.25
"""Part of the images that must see a point at all, or it is outside: what is behind an object may look like it once."""
_COVERED = 64
"""Alpha from which a pixel shows the object."""
_NEAREST = 3
"""Neighbours whose mean distance decides (Kerbl et al. 2023)."""
_SIZE = 0.6
"""First size of a Gaussian, in distances to its neighbours; published: 1 (Kerbl et al.), 0.1 (Kheradmand et al.)."""
_OPACITY = {"gradient": 0.1, "relocation": 0.5, "none": 0.5}
"""At the start; published: 0.1 for growth by gradient, 0.5 for relocation."""


def initial_gaussians(images: PosedImages, config: FitConfig) -> Gaussians:
    """Returns the Gaussians that a fit starts from, round, as large as they are apart, coloured by the images.

    Args:
        images: those that are fitted.
        config: says how many, and where.

    Raises:
        UserError: if the images have no depth, or are not cut out, where such a start is asked for.
        DataError: if depth or silhouettes show nothing.
    """
    random = np.random.default_rng(config.seed)
    count = config.start_count or max(3 * config.capacity // 4, 1)
    start = config.start
    if start == "auto":
        start = "depth" if images.depths is not None else "hull" if images.is_cut_out else "random"
    match start:
        case "depth":
            points = _points_of_depth(images, count, random)
        case "hull":
            points = _points_of_hull(images, count, random)
        case _:
            points = _random_points(images, count, random)
    return Gaussians(
        means=points.astype(np.float32),
        rotations=np.tile(np.asarray([[1.0, 0.0, 0.0, 0.0]], np.float32), (count, 1)),
        scales=np.repeat(_SIZE * _spacing(points)[:, None], 3, axis=1).astype(np.float32),
        opacities=np.full(count, _OPACITY[config.growth], np.float32),
        sh=((_mean_colors(points, images) - 0.5) / BAND_0).astype(np.float32)[:, None],
    )


def _points_of_depth(images: PosedImages, count: int, random: np.random.Generator) -> np.ndarray:
    if images.depths is None:
        raise UserError("--start depth needs images with depth maps")
    depths = np.asarray(images.depths)
    known = np.argwhere(depths > 0)
    if not len(known):
        raise DataError("the depth maps show nothing")
    chosen = known[random.choice(len(known), count, replace=len(known) < count)]
    view, row, column = chosen.T
    poses, (fx, fy, cx, cy) = _camera_arrays(images.cameras, view)
    z = depths[view, row, column].astype(np.float64)
    # Anywhere in the pixel, or several in one would be the same.
    x, y = ((axis + random.random(count)) / images.side for axis in (column, row))
    local = np.stack([(x - cx) / fx * z, (y - cy) / fy * z, z], axis=-1)
    return np.einsum("nij,nj->ni", poses[:, :3, :3], local) + poses[:, :3, 3]


def outside_silhouettes(points: Float[np.ndarray, "p 3"], images: PosedImages) -> Bool[np.ndarray, "p"]:
    """Returns which points cannot be part of what is cut out: images see them in the background, or few see them.

    A pixel or two beside the silhouette count as inside, and masks may be wrong in a few images. What lies beyond the
    sphere that the cameras look at is outside too: near one camera, few others say anything of it, and it can pretend
    to be anything there. Where the images are not cut out, no point is outside.

    Args:
        points: world units.
        images: those that are fitted.
    """
    if not images.is_cut_out:
        return np.zeros(len(points), bool)
    margin = 2 * max(1, images.side // 64) + 1
    seen, missing = np.zeros(len(points)), np.zeros(len(points))
    for alpha, pose, intrinsics in zip(np.asarray(images.pixels)[..., 3], *images.cameras, strict=True):
        row, column, is_seen = _pixels_of(points, pose, intrinsics, images.side)
        seen += is_seen
        missing += is_seen & (maximum_filter(alpha, size=margin)[row, column] < _COVERED)
    center, radius = _seen_sphere(images.cameras)
    is_far = np.linalg.norm(points - center, axis=1) > radius
    return is_far | (missing > _CONTRADICTED * seen) | (seen < _SEEN * len(images.pixels))


def _points_of_hull(images: PosedImages, count: int, random: np.random.Generator) -> np.ndarray:
    if not images.is_cut_out:
        raise UserError("--start hull needs images whose background is transparent, or masks")
    grid, inside = _hull(images)
    surface = grid[inside & ~binary_erosion(inside)]
    chosen = surface[random.integers(len(surface), size=count)]
    return chosen + (random.random((count, 3)) - 0.5) * (grid[1, 1, 1] - grid[0, 0, 0])


def _hull(images: PosedImages) -> tuple[Float[np.ndarray, "x y z 3"], Bool[np.ndarray, "x y z"]]:
    """Returns a grid around the visual hull, and which of its points are inside."""
    center, radius = _seen_sphere(images.cameras)
    low, high = center - radius, center + radius
    for _ in range(_ROUNDS):
        axes = [np.linspace(low[axis], high[axis], _GRID) for axis in range(3)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        inside = _inside_silhouettes(grid.reshape(-1, 3), images).reshape(grid.shape[:3])
        if not inside.any():
            raise DataError("the silhouettes have no point in common: the poses or the masks are wrong")
        found, step = grid[inside], (high - low) / (_GRID - 1)
        low, high = found.min(axis=0) - step, found.max(axis=0) + step
    return grid, inside


def _random_points(images: PosedImages, count: int, random: np.random.Generator) -> np.ndarray:
    """Returns points of the sphere that the cameras look at; where they look outwards, of their surroundings."""
    center, radius = _seen_sphere(images.cameras)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return center + radius * directions * np.cbrt(random.random((count, 1)))


def _seen_sphere(cameras: Cameras) -> tuple[np.ndarray, float]:
    """Returns the point nearest to all optical axes, and the largest radius around it that every camera sees whole.

    Cameras that look outwards have no such point in front of them; then it is their mean, and a radius of three times
    their spread.
    """
    poses = np.asarray(cameras.camera_to_world, np.float64)
    origins, forward = poses[:, :3, 3], poses[:, :3, 2]
    across = np.eye(3) - np.einsum("ni,nj->nij", forward, forward)
    center = np.linalg.lstsq(across.sum(axis=0), np.einsum("nij,nj->i", across, origins), rcond=None)[0]
    ahead = np.einsum("ni,ni->n", center - origins, forward)
    if (ahead > 0).mean() < 0.9:
        spread = np.linalg.norm(origins - origins.mean(axis=0), axis=1).max()
        return origins.mean(axis=0), 3 * max(float(spread), 1e-3)
    focal = np.asarray(cameras.intrinsics, np.float64)[:, :2].max(axis=1)
    distance = np.linalg.norm(center - origins, axis=1)
    half = np.arctan(0.5 / focal)
    return center, float(np.median(distance * np.sin(half))) * 1.2


def _inside_silhouettes(points: np.ndarray, images: PosedImages) -> Bool[np.ndarray, "p"]:
    """Returns at which points (nearly) all images that see them show something; what few see is not inside."""
    allowed = (1 - _AGREEING) * len(images.pixels)
    left, seen, missing = np.arange(len(points)), np.zeros(len(points)), np.zeros(len(points))
    for alpha, pose, intrinsics in zip(np.asarray(images.pixels)[..., 3], *images.cameras, strict=True):
        row, column, is_seen = _pixels_of(points[left], pose, intrinsics, images.side)
        seen[left] += is_seen
        missing[left] += is_seen & (alpha[row, column] < _COVERED)
        left = left[missing[left] <= allowed]  # most of a box is outside for the first few images already
    return (missing <= allowed) & (seen >= _SEEN * len(images.pixels))


def _mean_colors(points: np.ndarray, images: PosedImages) -> Float[np.ndarray, "p 3"]:
    """Returns the mean colour of the pixels at which points are seen; grey where none is."""
    total, weight = np.full((len(points), 3), 0.5e-3), np.full((len(points), 1), 1e-3)
    for pixels, pose, intrinsics in zip(np.asarray(images.pixels), *images.cameras, strict=True):
        row, column, is_seen = _pixels_of(points, pose, intrinsics, images.side)
        shown = pixels[row, column] / 255.0 * is_seen[:, None]
        total, weight = total + shown[:, :3], weight + shown[:, 3:]
    return np.clip(total / weight, 0.0, 1.0)


def _pixels_of(
    points: np.ndarray, pose: np.ndarray, intrinsics: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns row and column of the pixels at which points are, and whether they are in the image at all."""
    inverse = np.linalg.inv(np.asarray(pose, np.float64))
    local = points @ inverse[:3, :3].T + inverse[:3, 3]
    z = np.where(local[:, 2] > 1e-9, local[:, 2], np.inf)
    fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
    column = np.floor((local[:, 0] / z * fx + cx) * side)
    row = np.floor((local[:, 1] / z * fy + cy) * side)
    is_seen = np.isfinite(z) & (row >= 0) & (row < side) & (column >= 0) & (column < side)
    return *((np.clip(axis, 0, side - 1)).astype(int) for axis in (row, column)), is_seen


def _spacing(points: np.ndarray) -> Float[np.ndarray, "p"]:
    """Returns the mean distance to the nearest neighbours, world units."""
    if len(points) < 2:
        return np.full(len(points), 0.1)
    distances = KDTree(points).query(points, k=min(_NEAREST + 1, len(points)))[0][:, 1:]
    return np.maximum(distances.mean(axis=1), 1e-4 * max(float(np.ptp(points, axis=0).max()), 1e-6))


def _camera_arrays(cameras: Cameras, view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the poses `[p, 4, 4]` and intrinsics `[4, p]` of the given views, float64."""
    poses, intrinsics = (np.asarray(leaf, np.float64)[view] for leaf in cameras)
    return poses, intrinsics.T
