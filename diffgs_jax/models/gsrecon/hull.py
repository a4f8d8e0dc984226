"""The visual hull of silhouettes (Laurentini 1994), as the views see it: where each pixel's ray is inside."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry import Cameras, world_to_camera
from diffgs_jax.models.splat_grid import PixelPlaces, unproject_pixels

_SAMPLES = 40
_REACH = 1.0
"""How far before and behind the origin a ray is followed: as far as grids reach."""
_FAINT = 0.05
_COVERED = 0.4
"""Coverage from which a ray is followed, and from which another view counts as covered: rounding must not carve."""


def hull_depths(
    alphas: Float[Array | np.ndarray, "b v h w"], cameras: Cameras, places: PixelPlaces
) -> tuple[Float[Array, "b v h w"], Float[Array, "b v h w"]]:
    """Returns how far from the origin each pixel's ray enters and leaves the hull, along the camera's axis.

    A ray is looked at in 40 places from 1 before the origin to 1 behind it; a place is inside if every other view
    that it falls into shows the object there. Rays of empty pixels, and those that meet nothing, have 0 and 0. There
    is no gradient.

    Args:
        alphas: coverage in [0, 1].
        cameras: `[b, v]`, the object about the origin.
        places: where in the image a pixel lies.
    """
    alphas = jax.lax.stop_gradient(jnp.asarray(alphas))
    batch, count, height, width = alphas.shape
    poses, intrinsics = jnp.asarray(cameras.camera_to_world), jnp.asarray(cameras.intrinsics)
    to_camera = world_to_camera(poses)
    steps = -_REACH + (jnp.arange(_SAMPLES) + 0.5) * (2 * _REACH / _SAMPLES)
    distances = jnp.linalg.norm(poses[..., :3, 3], axis=-1)
    origins = poses[..., :3, 3]
    rays = unproject_pixels(jnp.ones_like(alphas), cameras, places) - origins[:, :, None, None]

    def carved(depth: Float[Array, ""]) -> Array:
        """Tells which points at this depth, `[b, v, h, w]`, all other views show."""
        along = (distances + depth)[:, :, None, None]
        inside = jnp.ones(alphas.shape, bool)
        for turn in range(1, count):
            view, lens = jnp.roll(to_camera, -turn, axis=1), jnp.roll(intrinsics, -turn, axis=1)
            shown = jnp.roll(alphas, -turn, axis=1).reshape(batch, count, -1) > _COVERED
            at = [
                sum(
                    view[:, :, i, j, None, None] * (origins[:, :, j, None, None] + along * rays[..., j])
                    for j in range(3)
                )
                + view[:, :, i, 3, None, None]
                for i in range(3)
            ]
            column, row = (
                (at[i] / at[2] * lens[:, :, i, None, None] + lens[:, :, 2 + i, None, None]) for i in range(2)
            )
            is_seen = (at[2] > 0) & (column >= 0) & (column < 1) & (row >= 0) & (row < 1)
            place = jnp.floor(jnp.clip(row, 0, 1 - 1e-6) * height) * width + jnp.floor(
                jnp.clip(column, 0, 1 - 1e-6) * width
            )
            found = jnp.take_along_axis(shown, place.astype(jnp.int32).reshape(batch, count, -1), axis=2)
            inside &= ~is_seen | found.reshape(alphas.shape)
        return inside

    def follow(reached: tuple[Array, Array], depth: Array) -> tuple[tuple[Array, Array], None]:
        near, far = reached
        inside, half = carved(depth), _REACH / _SAMPLES
        near = jnp.where(inside, jnp.minimum(near, depth - half), near)
        return (near, jnp.where(inside, jnp.maximum(far, depth + half), far)), None

    nothing = (jnp.full(alphas.shape, jnp.inf), jnp.full(alphas.shape, -jnp.inf))
    (near, far), _ = jax.lax.scan(follow, nothing, steps)
    is_known = (alphas > _FAINT) & jnp.isfinite(near)
    return jnp.where(is_known, near, 0.0), jnp.where(is_known, far, 0.0)
