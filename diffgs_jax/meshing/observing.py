"""Gaussians looked at from all around: how opaque they are along every ray, and how far along it.

Everything here is in a frame in which the splat fills the unit sphere.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras, Gaussians, covariances, intrinsics_from_fov, look_at, world_to_camera
from diffgs_jax.rasterizer import render

_DISTANCE, _FOV = 2.7, 50.0  # the unit sphere just fits
_PLANES = 48  # depths at which the opacity in front is known
_NEAR, _FAR = _DISTANCE - 1.05, _DISTANCE + 1.05
PLANE_SPACING = (_FAR - _NEAR) / (_PLANES - 1)
_INVISIBLE = 1 / 255  # fainter Gaussians are never drawn
_GROUP = 2048  # numbers are rounded up to multiples, so that few programs are compiled


class Observations(NamedTuple):
    """What cameras on a sphere around the splat see.

    Attributes:
        cameras: `[v]`, looking at the origin.
        colors: `[v, s, s, 3]` on black, so that they are weighted with alpha.
        alphas: `[v, s, s]` in [0, 1].
        opacities: `[v, s, s, k]` of what lies in front of the k-th of `_PLANES` depths from `_NEAR` to `_FAR`; float16.
    """

    cameras: Cameras
    colors: Float[Array, "v s s 3"]
    alphas: Float[Array, "v s s"]
    opacities: Float[Array, "v s s k"]


def into_unit_sphere(gaussians: Gaussians) -> tuple[Gaussians, Float[np.ndarray, "3"], float]:
    """Returns the visible Gaussians, moved and scaled into the unit sphere, and where they were and how large.

    What is far out and hardly seen does not count, or a few stray Gaussians would shrink everything else.

    Raises:
        DataError: if none is visible.
    """
    gaussians = Gaussians(*(np.asarray(leaf, np.float32) for leaf in gaussians))
    if gaussians.means.ndim != 2:
        raise ValueError(f"expected one set of Gaussians, got means of shape {gaussians.means.shape}")
    finite = np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(1) for leaf in gaussians], axis=0)
    visible = finite & (gaussians.opacities >= _INVISIBLE)
    if not visible.any():
        raise DataError("the splat has no visible Gaussians: there is nothing to mesh")
    means, rotations, scales, opacities, sh = (leaf[visible] for leaf in gaussians)
    means, scales = means.astype(np.float64), scales.astype(np.float64)
    wide = np.sort(scales, axis=1)
    weight = opacities * (wide[:, 1] * wide[:, 2] + 1e-12)
    low, high = (np.asarray([_quantile(axis, weight, share) for axis in means.T]) for share in (0.005, 0.995))
    center = (low + high) / 2
    reach = np.linalg.norm(means - center, axis=1) + 2 * wide[:, 2]
    radius = max(_quantile(reach, weight, 0.995), 1e-9)
    spare = -len(means) % _GROUP
    unit = Gaussians((means - center) / radius, rotations, scales / radius, opacities, sh)
    padded = (np.pad(leaf, [(0, spare)] + [(0, 0)] * (np.ndim(leaf) - 1)) for leaf in unit)
    return Gaussians(*padded), center, float(radius)


def observe(gaussians: Gaussians, views: int, size: int, progress: Callable[[int], object] | None) -> Observations:
    """Renders Gaussians of the unit sphere from `views` directions spread evenly over all of them (Fibonacci's spiral).

    Args:
        gaussians: one set, `[n, …]`.
        views: how many.
        size: of the pictures, pixels.
        progress: called with 1 after every view.
    """
    index = np.arange(views) + 0.5
    height = 1 - 2 * index / views
    azimuth = np.pi * (1 + np.sqrt(5)) * index
    flat = np.sqrt(1 - height**2)
    position = _DISTANCE * np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), height], axis=-1)
    cameras = Cameras(look_at(position), np.tile(intrinsics_from_fov(_FOV), (views, 1)))
    gaussians = Gaussians(*(jnp.asarray(leaf, jnp.float32) for leaf in gaussians))
    seen = []
    for view in range(views):
        camera = Cameras(*(jnp.asarray(leaf[view]) for leaf in cameras))
        seen.append(jax.block_until_ready(_look(gaussians, camera, size)))
        if progress is not None:
            progress(1)
    return Observations(Cameras(*map(jnp.asarray, cameras)), *map(jnp.stack, zip(*seen, strict=True)))


@jax.jit
def least_alpha(points: Float[Array, "p 3"], seen: Observations) -> Float[Array, "p"]:
    """Returns the least alpha over all views of the pixel where a point appears: above ½ is the visual hull."""

    def look(least: Array, view: tuple[Cameras, Array]) -> tuple[Array, None]:
        camera, alpha = view
        row, column, _ = _project(points, camera, alpha.shape[0])
        return jnp.minimum(least, map_coordinates(alpha, [row, column], order=1, mode="constant")), None

    return jax.lax.scan(look, jnp.ones(len(points)), (seen.cameras, seen.alphas))[0]


@jax.jit
def least_cover(points: Float[Array, "p 3"], seen: Observations, margin: float | Float[Array, ""]) -> Float[Array, "p"]:
    """Returns the least opacity, over all views, of what lies between the camera and a point.

    Free space is where some view sees through to it. (Gaussian Opacity Fields, Yu et al. 2024, eq. 9.)

    Args:
        points: in the frame of the observations.
        seen: the observations.
        margin: how far behind a point is looked, world units, so that sheets keep some thickness.
    """

    def look(least: Array, view: tuple[Cameras, Array]) -> tuple[Array, None]:
        return jnp.minimum(least, _cover(points, *view, margin)), None

    return jax.lax.scan(look, jnp.ones(len(points)), (seen.cameras, seen.opacities))[0]


@jax.jit
def surface_colors(
    points: Float[Array, "p 3"],
    normals: Float[Array, "p 3"],
    seen: Observations,
    margin: float | Float[Array, ""],
) -> Float[Array, "p 3"]:
    """Returns the colours of surface points, in [0, 1]: the mean over views, most from those that face and see them.

    Args:
        points: in the frame of the observations.
        normals: outward, of length 1.
        seen: the observations.
        margin: how far in front of a point what hides it begins, world units.
    """

    def look(total: Array, view: tuple[Cameras, Array, Array, Array]) -> tuple[Array, None]:
        camera, color, alpha, opacity = view
        towards = camera.camera_to_world[:3, 3][None] - points
        facing = jnp.sum(normals * towards, axis=1) / jnp.linalg.norm(towards, axis=1)
        hidden = _cover(points, camera, opacity, -margin)
        weight = (jnp.maximum(facing, 0.0) ** 2 + 1e-4) * (1.0 - hidden + 1e-4)
        row, column, _ = _project(points, camera, alpha.shape[0])
        layers = [*jnp.moveaxis(color, -1, 0), alpha]
        values = jnp.stack([map_coordinates(layer, [row, column], order=1, mode="nearest") for layer in layers], -1)
        return total + weight[:, None] * values, None

    views = (seen.cameras, seen.colors, seen.alphas, seen.opacities)
    total, _ = jax.lax.scan(look, jnp.zeros((len(points), 4)), views)
    return jnp.clip(total[:, :3] / jnp.maximum(total[:, 3:], 1e-12), 0.0, 1.0)


@functools.partial(jax.jit, static_argnames="size")
def _look(gaussians: Gaussians, camera: Cameras, size: int) -> tuple[Array, Array, Array]:
    """One view. Each Gaussian's share in front of a plane is its normal distribution's along the view axis."""
    pose = world_to_camera(jnp.asarray(camera.camera_to_world))
    axis = pose[2, :3]
    depth = gaussians.means @ axis + pose[2, 3]
    variance = jnp.einsum(
        "i,nij,j->n", axis, covariances(jnp.asarray(gaussians.rotations), jnp.asarray(gaussians.scales)), axis
    )
    planes = jnp.linspace(_NEAR, _FAR, _PLANES)
    in_front = norm.cdf((planes[None] - depth[:, None]) / jnp.sqrt(variance + 1e-8)[:, None])
    seen = render(gaussians, camera, height=size, width=size, background=0.0, features=in_front)
    opacity = jnp.zeros(0) if seen.features is None else seen.features.astype(jnp.float16)
    return seen.image, seen.alpha, opacity


def _project(points: Array, camera: Cameras, size: int) -> tuple[Array, Array, Array]:
    """Returns rows and columns as indices of pixel centres, and depths."""
    pose = world_to_camera(jnp.asarray(camera.camera_to_world))
    x, y, z = jnp.moveaxis(points @ pose[:3, :3].T + pose[None, :3, 3], -1, 0)
    fx, fy, cx, cy = camera.intrinsics
    return (fy * y / z + cy) * size - 0.5, (fx * x / z + cx) * size - 0.5, z


def _cover(points: Array, camera: Cameras, opacity: Array, margin: float | Array) -> Array:
    row, column, depth = _project(points, camera, opacity.shape[0])
    plane = (depth + margin - _NEAR) / PLANE_SPACING
    return map_coordinates(opacity, [row, column, plane], order=1, mode="nearest").astype(jnp.float32)


def _quantile(values: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"], share: float) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][min(np.searchsorted(cumulated, share * cumulated[-1]), len(values) - 1)])
