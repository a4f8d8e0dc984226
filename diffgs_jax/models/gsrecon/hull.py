"""The visual hull of silhouettes (Laurentini 1994), as the views see it: where each pixel's ray is inside."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry import Cameras, world_to_camera
from diffgs_jax.models.splat_grid import PixelPlaces, unproject_pixels

_SAMPLES = 40
_HALVINGS = 3
_REACH = 1.0
"""How far before and behind the origin a ray is followed: as far as grids reach."""
_FAINT = 0.05
_COVERED = 0.4
"""Coverage from which a ray is followed, and from which another view counts as covered: rounding must not carve."""


LookUp = Callable[[Array, Array, Array, int, int], Array]
"""From images, rows and columns in pixels, height and width to what the images have there."""


def hull_depths(
    alphas: Float[Array | np.ndarray, "b v h w"], cameras: Cameras, places: PixelPlaces
) -> tuple[Float[Array, "b v h w"], Float[Array, "b v h w"]]:
    """Returns how far from the origin each pixel's ray enters and leaves the hull, along the camera's axis.

    A ray is looked at in 40 places from 1 before the origin to 1 behind it; a place is inside if every other view
    that it falls into shows the object there. Where it enters and leaves is then halved in to three times, between
    pixels bilinearly. Rays of empty pixels, and those that meet nothing, have 0 and 0. There is no gradient.

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

    def carved(depth: Float[Array, "..."], look_up: LookUp) -> Array:
        """Tells which points at this depth, one for all or `[b, v, h, w]`, all other views show."""
        along = distances[:, :, None, None] + depth
        inside = jnp.ones(alphas.shape, bool)
        for turn in range(1, count):
            view, lens = jnp.roll(to_camera, -turn, axis=1), jnp.roll(intrinsics, -turn, axis=1)
            shown = jnp.roll(alphas, -turn, axis=1).reshape(batch, count, -1)
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
            inside &= ~is_seen | (look_up(shown, row * height, column * width, height, width) > _COVERED)
        return inside

    def follow(reached: tuple[Array, Array], depth: Array) -> tuple[tuple[Array, Array], None]:
        near, far = reached
        inside = carved(depth, _nearest)
        near = jnp.where(inside, jnp.minimum(near, depth), near)
        return (near, jnp.where(inside, jnp.maximum(far, depth), far)), None

    def refine(bounds: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        outside, inside = bounds
        middle = (outside + inside) / 2
        is_inside = carved(middle, _bilinear)
        return (jnp.where(is_inside, outside, middle), jnp.where(is_inside, middle, inside)), None

    nothing = (jnp.full(alphas.shape, jnp.inf), jnp.full(alphas.shape, -jnp.inf))
    (near, far), _ = jax.lax.scan(follow, nothing, steps)
    is_known = (alphas > _FAINT) & jnp.isfinite(near)
    near, far = jnp.where(is_known, near, 0.0), jnp.where(is_known, far, 0.0)
    (_, near), _ = jax.lax.scan(refine, (near - 2 * _REACH / _SAMPLES, near), None, length=_HALVINGS)
    (_, far), _ = jax.lax.scan(refine, (far + 2 * _REACH / _SAMPLES, far), None, length=_HALVINGS)
    return jnp.where(is_known, near, 0.0), jnp.where(is_known, far, 0.0)


def _nearest(
    images: Float[Array, "b v pixels"],
    row: Float[Array, "b v h w"],
    column: Float[Array, "b v h w"],
    height: int,
    width: int,
) -> Float[Array, "b v h w"]:
    """Returns the pixels of images of one channel that places in pixels fall into; beyond the edges, those there."""
    row, column = (jnp.floor(jnp.clip(at, 0, side - 1)) for at, side in ((row, height), (column, width)))
    place = (row * width + column).astype(jnp.int32).reshape(*images.shape[:2], -1)
    return jnp.take_along_axis(images, place, axis=2).reshape(row.shape)


def _bilinear(
    images: Float[Array, "b v pixels"],
    row: Float[Array, "b v h w"],
    column: Float[Array, "b v h w"],
    height: int,
    width: int,
) -> Float[Array, "b v h w"]:
    """Returns the same between pixels, whose centres are at halves."""
    row, column = (jnp.clip(at - 0.5, 0, side - 1) for at, side in ((row, height), (column, width)))
    top, left = (jnp.floor(jnp.minimum(at, side - 2)) for at, side in ((row, height), (column, width)))
    down, right = row - top, column - left
    corner = (top * width + left).astype(jnp.int32).reshape(*images.shape[:2], -1)

    def taken(offset: int) -> Array:
        return jnp.take_along_axis(images, corner + offset, axis=2).reshape(row.shape)

    upper = taken(0) * (1 - right) + taken(1) * right
    lower = taken(width) * (1 - right) + taken(width + 1) * right
    return upper * (1 - down) + lower * down
