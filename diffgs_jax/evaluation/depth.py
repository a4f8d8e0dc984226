"""What depth tells: how far a prediction's is from the truth, and whether its views agree with one another."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffgs_jax.evaluation.metrics import ALPHA_THRESHOLD, PSNR_LIMIT
from diffgs_jax.geometry import Cameras, pixel_rays, world_to_camera

OCCLUSION_TOLERANCE = 0.05
"""A point counts as hidden in another view if it lies this part of its depth behind what that view sees."""


def depth_error(
    depth: Float[Array | np.ndarray, "*batch h w"],
    alpha: Float[Array | np.ndarray, "*batch h w"],
    true_depth: Float[Array | np.ndarray, "*batch h w"],
) -> Float[Array, "*batch"]:
    """Returns the mean of |z − z*| / z* ("abs rel", Eigen et al. 2014), NaN where no pixel can be compared.

    Compared are pixels whose true depth is known and that the prediction covers (alpha above `ALPHA_THRESHOLD`); what
    it leaves empty is told by the silhouettes' overlap. Nothing is scaled or shifted to fit: the cameras are given, so
    the unit is known.

    Args:
        depth: expected planar z of what is seen, divided by alpha.
        alpha: its coverage.
        true_depth: planar z in the same unit, NaN where it is not known.
    """
    depth, truth = jnp.asarray(depth), jnp.asarray(true_depth)
    compared = jnp.isfinite(truth) & (truth > 0) & (jnp.asarray(alpha) > ALPHA_THRESHOLD)
    relative = jnp.abs(depth - truth) / jnp.where(compared, truth, 1.0)
    return _mean_where(jnp.where(compared, relative, 0.0), compared)


def consistency(
    images: Float[Array | np.ndarray, "t h w 3"],
    alphas: Float[Array | np.ndarray, "t h w"],
    depths: Float[Array | np.ndarray, "t h w"],
    cameras: Cameras,
    is_target: Bool[Array | np.ndarray, "t"],
) -> Float[Array, "t"]:
    """Returns how well each view's surface looks the same in its nearest neighbour: a PSNR, dB; NaN if nothing is seen.

    The warping error of Lai et al. 2018 (section 3.3, there for videos and optical flow) with the flow that rendered
    depth implies, as Huang et al. 2021 use it for view synthesis: each covered pixel (alpha above `ALPHA_THRESHOLD`) is
    lifted by its depth into the world, projected into the view whose camera stands nearest, and compared with the
    colour there, interpolated bilinearly. Left out is what falls outside that view and what lies behind its surface by
    more than `OCCLUSION_TOLERANCE`; what that view sees through is a difference like any other.

    Views of one rigid, opaque, matt surface agree up to interpolation; semi-transparent Gaussians, whose mean depth is
    no surface, do not.

    Args:
        images: views of one prediction, in [0, 1].
        alphas: their coverage.
        depths: their expected planar z.
        cameras: `[t]`.
        is_target: False for views that do not count, nor as neighbours.
    """
    images, alphas, depths = (jnp.asarray(array) for array in (images, alphas, depths))
    height, width = alphas.shape[1:]
    poses, intrinsics = jnp.asarray(cameras.camera_to_world), jnp.asarray(cameras.intrinsics)
    neighbour = nearest_views(poses[:, :3, 3], jnp.asarray(is_target))

    # Pixels to points: depth is measured along the camera's axis, rays have unit length
    rays = pixel_rays(Cameras(poses, intrinsics), height, width)
    along = jnp.einsum("thwi,ti->thw", rays.directions, poses[:, :3, 2])
    points = rays.origins + (depths / along)[..., None] * rays.directions

    # Points to the neighbour's pixels
    to_camera = world_to_camera(poses[neighbour])
    local = jnp.einsum("tij,thwj->thwi", to_camera[:, :3, :3], points) + to_camera[:, None, None, :3, 3]
    z = local[..., 2]
    in_front = z > 1e-6
    fx, fy, cx, cy = (intrinsics[neighbour][:, None, None, i] for i in range(4))
    safe = jnp.where(in_front, z, 1.0)
    column = (local[..., 0] / safe * fx + cx) * width - 0.5
    row = (local[..., 1] / safe * fy + cy) * height - 0.5
    inside = in_front & (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)

    surface = jnp.where(alphas > ALPHA_THRESHOLD, depths, jnp.inf)[neighbour]
    at_row = jnp.clip(jnp.round(row), 0, height - 1).astype(int)
    at_column = jnp.clip(jnp.round(column), 0, width - 1).astype(int)
    view = jnp.arange(len(images))[:, None, None]
    hidden = z > surface[view, at_row, at_column] * (1 + OCCLUSION_TOLERANCE)
    counted = (alphas > ALPHA_THRESHOLD) & inside & ~hidden

    seen = jax.vmap(_sample)(images[neighbour], jnp.where(inside, row, 0.0), jnp.where(inside, column, 0.0))
    squared = jnp.mean((images - seen) ** 2, axis=-1)
    error = _mean_where(jnp.where(counted, squared, 0.0), counted)
    return -10.0 * jnp.log10(jnp.maximum(error, 10.0 ** (-PSNR_LIMIT / 10)))


def nearest_views(
    centers: Float[Array | np.ndarray, "t 3"], is_target: Bool[Array | np.ndarray, "t"]
) -> Int[Array, "t"]:
    """Returns for each view the other one whose camera stands nearest; the first of equals.

    Args:
        centers: of the cameras.
        is_target: False for views that are not to be a neighbour.
    """
    centers = jnp.asarray(centers)
    distance = jnp.sum((centers[:, None] - centers[None]) ** 2, axis=-1)
    barred = jnp.eye(len(centers), dtype=bool) | ~jnp.asarray(is_target)[None]
    return jnp.argmin(jnp.where(barred, jnp.inf, distance), axis=1)


def _mean_where(values: Array, mask: Array) -> Array:
    count = jnp.sum(mask, axis=(-2, -1))
    return jnp.where(count > 0, jnp.sum(values, axis=(-2, -1)) / jnp.maximum(count, 1), jnp.nan)


def _sample(
    image: Float[Array, "h w 3"], row: Float[Array, "h w"], column: Float[Array, "h w"]
) -> Float[Array, "h w 3"]:
    """Interpolates bilinearly between pixel centres."""
    channels = (
        jax.scipy.ndimage.map_coordinates(image[..., i], [row, column], order=1, mode="nearest") for i in range(3)
    )
    return jnp.stack(list(channels), axis=-1)
