"""What a model must beat: predictions of novel views that need no learning."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry import Cameras, pixel_rays, world_to_camera


class ViewImages(NamedTuple):
    """Views as a baseline paints them.

    Attributes:
        image: `[*batch, h, w, 3]` in [0, 1], on the background.
        alpha: `[*batch, h, w]` in [0, 1].
        depth: `[*batch, h, w]` expected planar z of what is seen; None where there is no such thing.
    """

    image: Float[Array | np.ndarray, "*batch h w 3"]
    alpha: Float[Array | np.ndarray, "*batch h w"]
    depth: Float[Array | np.ndarray, "*batch h w"] | None = None


def copied_view(condition: ViewImages, views: int) -> ViewImages:
    """Shows the condition view, `[b]`, whatever the target camera: `[b, views]`."""
    image, alpha = jnp.asarray(condition.image), jnp.asarray(condition.alpha)
    return ViewImages(
        jnp.broadcast_to(image[:, None], (image.shape[0], views, *image.shape[1:])),
        jnp.broadcast_to(alpha[:, None], (alpha.shape[0], views, *alpha.shape[1:])),
    )


def nearest_view(shown: ViewImages, shown_cameras: Cameras, target_cameras: Cameras) -> ViewImages:
    """Shows to every target camera, `[b, v]`, the view of several whose camera looks most nearly the same way.

    Args:
        shown: `[b, k]`.
        shown_cameras: `[b, k]`.
        target_cameras: `[b, v]`.
    """
    ours, theirs = (jnp.asarray(one.camera_to_world)[..., :3, 2] for one in (shown_cameras, target_cameras))
    nearest = jnp.argmax(jnp.einsum("bvi,bki->bvk", theirs, ours), axis=-1)
    image, alpha = jnp.asarray(shown.image), jnp.asarray(shown.alpha)
    return ViewImages(
        jnp.take_along_axis(image, nearest[..., None, None, None], axis=1),
        jnp.take_along_axis(alpha, nearest[..., None, None], axis=1),
    )


def billboard(
    condition: ViewImages, condition_cameras: Cameras, target_cameras: Cameras, background: float = 1.0
) -> ViewImages:
    """Shows the condition view as a cardboard cut-out in the scene.

    The picture is unprojected on the plane through the world's origin that is perpendicular to the condition camera's
    axis, and that plane is seen by the target cameras: a homography. From behind it shows its mirror image. Colours
    are sampled bilinearly, premultiplied by alpha; off the picture's edge the plane is transparent.

    Args:
        condition: `[b]`, on the background.
        condition_cameras: `[b]`; must not lie in its own plane.
        target_cameras: `[b, v]`.
        background: grey level behind the condition view and behind the billboard.

    Returns:
        `[b, v]`, of the condition view's height and width.
    """
    alpha = jnp.asarray(condition.alpha)
    color = jnp.asarray(condition.image) - (1.0 - alpha[..., None]) * background
    layers = jnp.concatenate([color, alpha[..., None]], axis=-1)
    height, width = alpha.shape[-2:]
    pose, intrinsics = jnp.asarray(condition_cameras.camera_to_world), jnp.asarray(condition_cameras.intrinsics)

    # Where the target's pixel rays meet the plane n · x = 0, n the condition camera's viewing direction
    rays = pixel_rays(target_cameras, height, width)
    normal = pose[:, None, None, None, :3, 2]
    approach = jnp.sum(rays.directions * normal, axis=-1)
    offset = -jnp.sum(rays.origins * normal, axis=-1)
    parallel = jnp.abs(approach) < 1e-9
    distance = offset / jnp.where(parallel, 1.0, approach)
    points = rays.origins + distance[..., None] * rays.directions

    # … and where the condition camera saw those points
    to_camera = world_to_camera(pose)
    local = jnp.einsum("bij,bvhwj->bvhwi", to_camera[:, :3, :3], points) + to_camera[:, None, None, None, :3, 3]
    depth = local[..., 2]
    visible = ~parallel & (distance > 0) & (depth > 0)
    fx, fy, cx, cy = (intrinsics[:, None, None, None, i] for i in range(4))
    safe = jnp.where(visible, depth, 1.0)
    column = (local[..., 0] / safe * fx + cx) * width - 0.5
    row = (local[..., 1] / safe * fy + cy) * height - 0.5
    # A point off the picture is sent to a place that is off it for certain, not to wherever its numbers overflow to.
    row, column = jnp.where(visible, row, -9.0), jnp.where(visible, column, -9.0)
    painted = jax.vmap(_sample)(layers, row, column)
    alpha = painted[..., 3]
    return ViewImages(painted[..., :3] + (1.0 - alpha[..., None]) * background, alpha)


def _sample(
    layers: Float[Array, "h w c"], row: Float[Array, "v h w"], column: Float[Array, "v h w"]
) -> Float[Array, "v h w c"]:
    """Interpolates bilinearly at pixel coordinates; zero beyond the edge."""

    def channel(layer: Array) -> Array:
        return jax.scipy.ndimage.map_coordinates(layer, [row, column], order=1, mode="constant", cval=0.0)

    return jnp.moveaxis(jax.vmap(channel)(jnp.moveaxis(layers, -1, 0)), 0, -1)


def mean_view(views: Iterable[tuple[np.ndarray, np.ndarray]]) -> ViewImages:
    """Averages training views: the best constant picture, in squared error.

    Args:
        views: any number of `(images [n, h, w, 3], alphas [n, h, w])`, on the background; at least one in all.

    Returns:
        One view, `[]`.

    Raises:
        ValueError: if there are no views.
    """
    total, total_alpha, count = np.zeros(()), np.zeros(()), 0
    for images, alphas in views:
        total = total + np.sum(images, axis=0, dtype=np.float64)
        total_alpha = total_alpha + np.sum(alphas, axis=0, dtype=np.float64)
        count += len(images)
    if count == 0:
        raise ValueError("there is no view to average")
    return ViewImages((total / count).astype(np.float32), (total_alpha / count).astype(np.float32))
