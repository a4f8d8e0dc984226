"""Which point of a mesh every pixel shows: triangles drawn with a depth buffer, for textures that are optimised.

Nothing here is differentiable by the geometry. With the geometry fixed, what a picture shows of a texture is linear in
the texture, and which texel a pixel shows is known once for all.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int32, Int64

from diffgs_jax.geometry import Cameras, world_to_camera

_NEAR = 0.01  # nearer corners are behind the camera, and their triangles are left out
_FINER = 2  # pixels of the buffer along a side for each of a picture, whose mean it shows


class VisibleSurface(NamedTuple):
    """What cameras see of a mesh with a texture, at `_FINER` times the pictures' size.

    Attributes:
        uv: `[n, s, s, 2]` places on the texture, v up; 0 where there is no surface.
        covered: `[n, s, s]` 1 where there is one, else 0.
    """

    uv: Float[Array | np.ndarray, "n s s 2"]
    covered: Float[Array | np.ndarray, "n s s"]


def see_surface(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int32[np.ndarray, "f 3"],
    uv: Float[np.ndarray, "v 2"],
    cameras: Cameras,
    side: int,
) -> VisibleSurface:
    """Draws a mesh for cameras `[n]`.

    Args:
        vertices: world units.
        faces: indices into them, of either orientation.
        uv: of the vertices.
        cameras: `[n]`.
        side: height and width of the pictures that will be made, pixels.
    """
    finer = _FINER * side
    poses = np.asarray(world_to_camera(jnp.asarray(cameras.camera_to_world)), np.float64)
    intrinsics = np.asarray(cameras.intrinsics, np.float64)
    seen = [_draw(vertices, faces, uv, pose, lens, finer) for pose, lens in zip(poses, intrinsics, strict=True)]
    return VisibleSurface(*(np.stack(leaf).astype(np.float32) for leaf in zip(*seen, strict=True)))


def show_texture(
    texture: Float[Array, "t t 3"], seen: VisibleSurface, background: float | Float[Array, ""]
) -> Float[Array, "n h h 3"]:
    """Returns the pictures that a texture gives, linear in it: bilinear between texels, the mean of a pixel's parts.

    Args:
        texture: top row first.
        seen: of `see_surface`.
        background: grey level where there is no surface.
    """
    size = texture.shape[0]
    uv, covered = jnp.asarray(seen.uv), jnp.asarray(seen.covered)[..., None]
    places = [(1 - uv[..., 1]) * size - 0.5, uv[..., 0] * size - 0.5]
    layers = [map_coordinates(layer, places, order=1, mode="nearest") for layer in jnp.moveaxis(texture, -1, 0)]
    image = covered * jnp.stack(layers, axis=-1) + (1 - covered) * background
    count, side = image.shape[0], image.shape[1] // _FINER
    return jnp.mean(image.reshape(count, side, _FINER, side, _FINER, 3), axis=(2, 4))


def covered_pixels(
    corners: Float[np.ndarray, "f 3 2"], size: int
) -> tuple[Int64[np.ndarray, "p"], Float[np.ndarray, "p 3"], Int64[np.ndarray, "p"], Int64[np.ndarray, "p"]]:
    """Returns the pixels whose centres lie in a triangle: which one, its corners' shares, their rows and columns.

    Args:
        corners: x (to the right) and y (down) of the triangles' corners, pixels. Pixel (row, column) is centred at
            (column + 0.5, row + 0.5).
        size: height and width of the picture.
    """
    low = np.clip(np.floor(corners.min(axis=1)), 0, size - 1).astype(np.int64)
    high = np.clip(np.ceil(corners.max(axis=1)), low + 1, size).astype(np.int64)
    width, height = (high - low).T
    count = width * height  # of the triangle's box
    triangle = np.repeat(np.arange(len(corners)), count)
    offset = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    column, row = low[triangle, 0] + offset % width[triangle], low[triangle, 1] + offset // width[triangle]
    centers = np.stack([column + 0.5, row + 0.5], axis=-1)
    a, b, c = np.moveaxis(corners[triangle], 1, 0)
    area = _cross(b - a, c - a)
    parts = [_cross(c - b, centers - b), _cross(a - c, centers - c), _cross(b - a, centers - a)]
    shares = np.stack(parts, axis=-1) / np.where(area == 0, 1.0, area)[:, None]
    inside = (area != 0) & (shares >= -1e-6).all(axis=1)
    return triangle[inside], shares[inside], row[inside], column[inside]


def _draw(
    vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, pose: np.ndarray, lens: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places on the texture, and which pixels have one, of one camera."""
    x, y, z = (np.asarray(vertices, np.float64) @ pose[:3, :3].T + pose[:3, 3]).T
    shown = faces[(z[faces] > _NEAR).all(axis=1)]
    depth = np.maximum(z, _NEAR)
    places = size * np.stack([lens[0] * x / depth + lens[2], lens[1] * y / depth + lens[3]], axis=-1)
    corners = places[shown]
    # What lies outside of the picture altogether would be drawn into its edge otherwise
    within = ((corners.max(axis=1) > 0) & (corners.min(axis=1) < size)).all(axis=1)
    shown, corners = shown[within], corners[within]
    triangle, shares, row, column = covered_pixels(corners, size)
    # 1 / z and uv / z are linear in the picture
    weights = shares / depth[shown[triangle]]
    inverse = weights.sum(axis=1)
    found = np.einsum("pc,pcx->px", weights, np.asarray(uv, np.float64)[shown[triangle]]) / inverse[:, None]
    order = np.argsort(inverse, kind="stable")  # the nearest is written last
    image, covered = np.zeros((size, size, 2)), np.zeros((size, size))
    image[row[order], column[order]] = found[order]
    covered[row, column] = 1.0
    return image, covered


def _cross(a: Float[np.ndarray, "p 2"], b: Float[np.ndarray, "p 2"]) -> Float[np.ndarray, "p"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
