"""DiffSplat's splat grid: every pixel of every view is one Gaussian of 12 numbers in [−1, 1] (Lin et al. 2025).

    channel  0 1 2   3 4 5    6 7 8 9          10       11
             rgb     scale    rotation wxyz    opacity  depth

Colours and opacities are g/2 + 1/2. Scales run backwards: with u = g/2 + 1/2, a standard deviation is
smallest · u + largest · (1 − u). The depth is z along the camera's axis less the camera's distance from the origin, so
a grid holds what is up to 1 before or behind the origin. Quaternions are in the world's axes and as long as they are.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry import Cameras, Gaussians, Rays, embed_rays, pixel_rays, sh_from_color, world_to_camera
from diffgs_jax.geometry.spherical_harmonics import BAND_0

GRID_CHANNELS = 12
"""Numbers of a Gaussian."""

DEPTH_CHANNEL = 11
"""Which of them says how far along its ray it lies."""

_RGB, _SCALE, _ROTATION, _OPACITY = slice(0, 3), slice(3, 6), slice(6, 10), 10

PluckerRule = Literal[
    "official",  # x = j / (w − 1) + 1/2 − cx: half an image off, as the published code has it and its weights want it
    "centered",  # x = (j + 1/2) / w − cx: through the pixels' centres
]

PixelPlaces = Literal[
    "corners",  # column j lies at j / (w − 1): what the published code unprojects depth with
    "centers",  # column j lies at (j + 1/2) / w: where the rasterizer has it
]


@dataclasses.dataclass(frozen=True)
class SplatGridConfig:
    """What the numbers of a grid mean. The defaults are the published ones."""

    smallest_scale: float = 5e-4
    """Standard deviation at a grid value of 1, world units."""
    largest_scale: float = 2e-2
    """Standard deviation at a grid value of −1, world units."""
    opacity_threshold: float = 0.0
    """Opacities up to this count as 0."""
    places: PixelPlaces = "corners"
    """Where in the image a pixel's Gaussian lies. `corners` is published, up to half a pixel off at the borders."""


def grid_to_gaussians(
    config: SplatGridConfig, grid: Float[Array | np.ndarray, "*batch v h w 12"], cameras: Cameras
) -> Gaussians:
    """Returns the Gaussians of a grid, n = v · h · w, ordered (view, row, column).

    Args:
        config: what its numbers mean.
        grid: in [−1, 1].
        cameras: `[*batch, v]`, in the world that the Gaussians shall be in.
    """
    grid = jnp.asarray(grid)
    batch = grid.shape[:-4]
    u = grid * 0.5 + 0.5
    opacities = jnp.where(u[..., _OPACITY] > config.opacity_threshold, u[..., _OPACITY], 0.0)
    scales = config.smallest_scale * u[..., _SCALE] + config.largest_scale * (1.0 - u[..., _SCALE])
    means = unproject_pixels(grid[..., DEPTH_CHANNEL] + _distances(cameras), cameras, config.places)
    return Gaussians(
        means=means.reshape(*batch, -1, 3),
        rotations=grid[..., _ROTATION].reshape(*batch, -1, 4),
        scales=scales.reshape(*batch, -1, 3),
        opacities=opacities.reshape(*batch, -1),
        sh=sh_from_color(u[..., _RGB]).reshape(*batch, -1, 1, 3),
    )


def gaussians_to_grid(
    config: SplatGridConfig, gaussians: Gaussians, cameras: Cameras, height: int, width: int
) -> Float[Array, "*batch v {height} {width} 12"]:
    """Returns the grid of Gaussians that lie on the rays of its pixels: what `grid_to_gaussians` takes.

    What lies elsewhere loses its place across the ray, and values that a grid cannot hold leave [−1, 1].

    Args:
        config: what its numbers mean.
        gaussians: `[*batch, v · height · width]`, ordered (view, row, column), of degree 0.
        cameras: `[*batch, v]`.
        height: of the grid, pixels.
        width: of the grid, pixels.
    """
    lead = cameras.intrinsics.shape[:-1]

    def laid(values: Array | np.ndarray) -> Array:
        return jnp.asarray(values).reshape(*lead, height, width, -1)

    view = world_to_camera(jnp.asarray(cameras.camera_to_world))[..., None, None, :, :]
    means = laid(gaussians.means)
    depth = jnp.sum(view[..., 2, :3] * means, axis=-1) + view[..., 2, 3] - _distances(cameras)
    u = (config.largest_scale - laid(gaussians.scales)) / (config.largest_scale - config.smallest_scale)
    colors = laid(gaussians.sh) * BAND_0 + 0.5
    channels = [colors * 2 - 1, u * 2 - 1, laid(gaussians.rotations), laid(gaussians.opacities) * 2 - 1]
    return jnp.concatenate([*channels, depth[..., None]], axis=-1)


def unproject_pixels(
    depth: Float[Array | np.ndarray, "*batch h w"], cameras: Cameras, places: PixelPlaces
) -> Float[Array, "*batch h w 3"]:
    """Returns the points that pixels see, world units.

    Args:
        depth: z along the camera's axis, world units.
        cameras: `[*batch]`.
        places: where in the image a pixel lies.
    """
    depth = jnp.asarray(depth)
    height, width = depth.shape[-2:]
    pose, intrinsics = jnp.asarray(cameras.camera_to_world), jnp.asarray(cameras.intrinsics)
    lead = (1,) * (depth.ndim - 2)
    fx, fy, cx, cy = (intrinsics[..., i, None, None] for i in range(4))
    x = (_places(width, places).reshape(*lead, 1, width) - cx) / fx * depth
    y = (_places(height, places).reshape(*lead, height, 1) - cy) / fy * depth
    turn, origin = pose[..., None, None, :3, :3], pose[..., None, None, :3, 3]
    # Written out by component: a dot product of default precision may be taken in TF32 on a GPU.
    axes = [turn[..., i, 0] * x + turn[..., i, 1] * y + turn[..., i, 2] * depth for i in range(3)]
    return jnp.stack(axes, axis=-1) + origin


def plucker_maps(cameras: Cameras, height: int, width: int, rule: PluckerRule) -> Float[Array, "*batch h w 6"]:
    """Returns (o × d, d) of a ray through every pixel, d of unit length.

    Args:
        cameras: `[*batch]`.
        height: of the image, pixels.
        width: of the image, pixels.
        rule: which ray belongs to a pixel.
    """
    if rule == "centered":
        return embed_rays(pixel_rays(cameras, height, width), "plucker")
    ones = jnp.ones((*cameras.intrinsics.shape[:-1], height, width), jnp.float32)
    shifted = jnp.asarray(cameras.intrinsics) - jnp.asarray([0, 0, 0.5, 0.5], jnp.float32).reshape(
        *(1,) * (cameras.intrinsics.ndim - 1), 4
    )
    ends = unproject_pixels(ones, Cameras(cameras.camera_to_world, shifted), "corners")
    origins = jnp.broadcast_to(jnp.asarray(cameras.camera_to_world)[..., None, None, :3, 3], ends.shape)
    along = ends - origins
    return embed_rays(Rays(origins, along / jnp.linalg.norm(along, axis=-1, keepdims=True)), "plucker")


def _places(count: int, places: PixelPlaces) -> Float[Array, "{count}"]:
    """Returns where pixels lie along one side, as fractions of it."""
    index = jnp.arange(count, dtype=jnp.float32)
    return index / max(count - 1, 1) if places == "corners" else (index + 0.5) / count


def _distances(cameras: Cameras) -> Float[Array, "*batch 1 1"]:
    """Returns how far the cameras are from the origin."""
    return jnp.linalg.norm(jnp.asarray(cameras.camera_to_world)[..., :3, 3], axis=-1)[..., None, None]
