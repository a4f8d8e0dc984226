"""Depth and normals of the surface that Gaussians make, as RaDe-GS has them (Zhang et al. 2024, arXiv 2406.01467).

Along each ray through a Gaussian there is a point of greatest density. To first order in the ray these points lie on a
plane, which has the normal Σ⁻¹ p in camera space, p the Gaussian's centre; and their distance from the camera is linear
in the pixel. So distances are blended like colours, as three channels of that line, and divided by the coverage.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry import Cameras, Gaussians, principal_axes, world_to_camera
from diffgs_jax.rasterizer._sharded import render_sharded
from diffgs_jax.rasterizer.backends import Backend
from diffgs_jax.rasterizer.settings import RenderSettings

_LEAST_COSINE = 1e-7
_COVERED = 1e-8


class SurfaceRendering(NamedTuple):
    """What a camera sees, and where.

    Attributes:
        image: `[*batch, h, w, 3]` on the background.
        alpha: `[*batch, h, w]` coverage in [0, 1].
        depth: `[*batch, h, w]` mean z of the surface, world units; 0 where nothing is.
        normals: `[*batch, h, w, 3]` unit vectors in the camera's axes, towards it; 0 where nothing is.
    """

    image: Float[Array, "*batch h w 3"]
    alpha: Float[Array, "*batch h w"]
    depth: Float[Array, "*batch h w"]
    normals: Float[Array, "*batch h w 3"]


def render_surfaces(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    *,
    height: int,
    width: int,
    background: float | Float[Array | np.ndarray, "*background"] = 1.0,
    backend: Backend = "auto",
) -> SurfaceRendering:
    """Renders Gaussians with the depth and the normals of their surface, over devices as `render_sharded` does.

    Args:
        gaussians: `[*batch, n]`.
        cameras: `[*batch, v]`.
        settings: how.
        height: of the images, pixels.
        width: of the images, pixels.
        background: as in `render`.
        backend: who blends.
    """
    views = cameras.intrinsics.shape[-2]
    axes = gaussians.opacities.ndim - 1

    def repeated(leaf: Array | np.ndarray) -> Array:
        """Returns the same for every view: planes are another view's each."""
        shape = (*leaf.shape[:axes], views, *leaf.shape[axes:])
        return jnp.broadcast_to(jnp.expand_dims(jnp.asarray(leaf), axes), shape)

    per_view = Gaussians(*map(repeated, gaussians))
    rendering = render_sharded(
        per_view,
        cameras,
        height=height,
        width=width,
        background=background,
        features=_planes(per_view, cameras, settings, height, width),
        backend=backend,
        **settings.arguments(),
    )
    assert rendering.features is not None
    lead = (1,) * (cameras.intrinsics.ndim - 1)
    x = (jnp.arange(width) + 0.5 - width / 2).reshape(*lead, 1, width)
    y = (jnp.arange(height) + 0.5 - height / 2).reshape(*lead, height, 1)
    line, normals = rendering.features[..., :3], rendering.features[..., 3:]
    is_covered = rendering.alpha > _COVERED
    distance = (line[..., 0] + line[..., 1] * x + line[..., 2] * y) / jnp.where(is_covered, rendering.alpha, 1.0)
    fx, fy, cx, cy = (jnp.asarray(cameras.intrinsics)[..., i, None, None] for i in range(4))
    u, v = (x / width + 0.5 - cx) / fx, (y / height + 0.5 - cy) / fy
    squared = jnp.sum(normals**2, axis=-1, keepdims=True)
    is_known = squared > _COVERED**2
    return SurfaceRendering(
        image=rendering.image,
        alpha=rendering.alpha,
        depth=jnp.where(is_covered, distance / jnp.sqrt(1 + u * u + v * v), 0.0),
        normals=jnp.where(is_known, normals / jnp.sqrt(jnp.where(is_known, squared, 1.0)), 0.0),
    )


def _planes(
    gaussians: Gaussians, cameras: Cameras, settings: RenderSettings, height: int, width: int
) -> Float[Array, "*batch n 6"]:
    """Returns what is blended: distance at the image's middle, its slopes along x and y, the normal in camera axes.

    Args:
        gaussians: `[*batch, n]`.
        cameras: `[*batch]`.
        settings: how they are rendered.
        height: of the images, pixels.
        width: of the images, pixels.
    """
    view = world_to_camera(jnp.asarray(cameras.camera_to_world))[..., None, :, :]
    means = jnp.asarray(gaussians.means)
    x, y, z = (
        view[..., i, 0] * means[..., 0]
        + view[..., i, 1] * means[..., 1]
        + view[..., i, 2] * means[..., 2]
        + view[..., i, 3]
        for i in range(3)
    )
    is_seen = z > settings.near
    z = jnp.where(is_seen, z, 1.0)
    u, v = jnp.where(is_seen, x / z, 0.0), jnp.where(is_seen, y / z, 0.0)
    ray = jnp.stack([u, v, jnp.ones_like(u)], axis=-1)
    normal = _plane_normals(gaussians, view, ray, settings)
    facing = jnp.maximum(jnp.sum(normal * ray, axis=-1), _LEAST_COSINE)
    squared = 1 + u * u + v * v
    distance = z * jnp.sqrt(squared)
    fx, fy, cx, cy = (jnp.asarray(cameras.intrinsics)[..., i, None] for i in range(4))
    slope_x = distance * (u / squared - normal[..., 0] / facing) / (fx * width)
    slope_y = distance * (v / squared - normal[..., 1] / facing) / (fy * height)
    center_x, center_y = (fx * u + cx - 0.5) * width, (fy * v + cy - 0.5) * height
    line = [distance - slope_x * center_x - slope_y * center_y, slope_x, slope_y]
    return jnp.concatenate([jnp.stack(line, axis=-1), -normal], axis=-1)


def _plane_normals(
    gaussians: Gaussians, view: Float[Array, "*batch 1 4 4"], ray: Float[Array, "*batch n 3"], settings: RenderSettings
) -> Float[Array, "*batch n 3"]:
    """Returns unit vectors along Σ⁻¹ ray in camera axes, away from the camera.

    By the adjugate of Σ, which has that direction too and is also known of flat Gaussians: there it is that of the
    thinnest axis.
    """
    scales = jnp.asarray(gaussians.scales)
    scales = scales / jnp.maximum(jnp.max(scales, axis=-1, keepdims=True), 1e-12)
    axes = principal_axes(jnp.asarray(gaussians.rotations), scales, unit=settings.unit_rotations)
    turned = [
        jnp.stack([jnp.sum(view[..., i, :3] * axes[..., :, k], axis=-1) for i in range(3)], axis=-1) for k in range(3)
    ]
    total = jnp.zeros_like(ray)
    for k in range(3):
        side = jnp.cross(turned[(k + 1) % 3], turned[(k + 2) % 3])
        total += side * jnp.sum(side * ray, axis=-1, keepdims=True)
    squared = jnp.sum(total**2, axis=-1, keepdims=True)
    is_known = squared > 1e-30
    # What is a line or a point has no plane; one that faces the camera is as good as any.
    return jnp.where(
        is_known,
        total / jnp.sqrt(jnp.where(is_known, squared, 1.0)),
        ray / jnp.linalg.norm(ray, axis=-1, keepdims=True),
    )
