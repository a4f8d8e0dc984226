"""A texture for a mesh: every texel is coloured by what the splat shows at its place on the surface."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32, Int64, UInt8
from scipy.ndimage import distance_transform_edt

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.meshing.extraction import Mesh
from diffgs_jax.meshing.observing import PLANE_SPACING, Observations, into_unit_sphere, observe, surface_colors
from diffgs_jax.meshing.surface import vertex_normals
from diffgs_jax.meshing.texture_settings import check_texture

_PADDING = 4  # texels between charts, so that filtering and mipmaps do not mix them
_CHUNK = 2**17  # texels at a time
_MARGIN = PLANE_SPACING + 1 / 64  # how far in front of a surface what hides it begins


class TexturedMesh(NamedTuple):
    """Triangles with a picture on them.

    Attributes:
        vertices: `[v, 3]` in the world of the Gaussians; those on seams are there more than once.
        faces: `[f, 3]` indices into them, counter-clockwise seen from outside.
        uv: `[v, 2]` places on the texture in [0, 1], v up.
        texture: `[s, s, 3]` sRGB, top row first.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    texture: UInt8[np.ndarray, "s s 3"]


def bake_texture(
    gaussians: Gaussians,
    mesh: Mesh,
    *,
    size: int = 1024,
    views: int = 40,
    resolution: int = 256,
    progress: Callable[[int], object] | None = None,
) -> TexturedMesh:
    """Returns a mesh with a texture instead of vertex colours.

    Needs xatlas, of the extra `mesh`, which cuts the surface into charts and lays them out.

    Args:
        gaussians: one set, `[n, …]`, that the mesh was made of.
        mesh: its surface.
        size: side of the texture, pixels, 64 to 4096.
        views: pictures that the colours are taken from, all around.
        resolution: side of a picture, pixels.
        progress: called with the number of views finished since the last call.

    Raises:
        UserError: if the size is out of range or xatlas is missing.
        DataError: if the splat shows nothing, or the surface cannot be laid out.
    """
    check_texture(size)
    unit, center, radius = into_unit_sphere(gaussians)
    source, faces, uv = _charts(mesh, size)
    vertices = np.asarray(mesh.vertices, np.float64)
    normals = vertex_normals(vertices, np.asarray(mesh.faces))
    triangle, shares, row, column = _texels(uv, faces, size)
    corners = source[faces[triangle]]
    places = (np.einsum("tc,tcx->tx", shares, vertices[corners]) - center) / radius
    facing = np.einsum("tc,tcx->tx", shares, normals[corners])
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-20)
    seen = observe(unit, views, size=-(-resolution // 8) * 8, progress=progress)
    texture, covered = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), bool)
    texture[row, column] = np.round(255 * _colors(places, facing, seen))
    covered[row, column] = True
    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return TexturedMesh(np.asarray(mesh.vertices)[source].astype(np.float32), faces, uv, texture[tuple(nearest)])


def _charts(mesh: Mesh, size: int) -> tuple[Int64[np.ndarray, "v"], Int32[np.ndarray, "f 3"], Float[np.ndarray, "v 2"]]:
    """Returns which of the mesh's vertices each new one is, the triangles of the new ones, and their places.

    Raises:
        DataError: if the charts do not fit on one texture.
    """
    import xatlas  # ty: ignore (optional)

    atlas, packing = xatlas.Atlas(), xatlas.PackOptions()
    packing.resolution, packing.padding, packing.create_image = size, _PADDING, False
    atlas.add_mesh(np.ascontiguousarray(mesh.vertices, np.float32), np.ascontiguousarray(mesh.faces, np.uint32))
    atlas.generate(pack_options=packing)
    source, faces, uv = atlas[0]
    if atlas.atlas_count != 1 or len(faces) != len(mesh.faces):
        raise DataError(f"the mesh's surface does not fit on a texture of {size} pixels; ask for a larger one")
    return source.astype(np.int64), faces.astype(np.int32), uv.astype(np.float64)


def _texels(
    uv: Float[np.ndarray, "v 2"], faces: Int32[np.ndarray, "f 3"], size: int
) -> tuple[Int64[np.ndarray, "t"], Float[np.ndarray, "t 3"], Int64[np.ndarray, "t"], Int64[np.ndarray, "t"]]:
    """Returns the texels whose centres lie in a triangle: which one, its corners' shares, their rows and columns."""
    corners = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size], axis=-1)[faces]
    low = np.clip(np.floor(corners.min(axis=1)), 0, size - 1).astype(np.int64)
    high = np.clip(np.ceil(corners.max(axis=1)), low + 1, size).astype(np.int64)
    width, height = (high - low).T
    count = width * height  # of the triangle's box
    triangle = np.repeat(np.arange(len(faces)), count)
    offset = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    column, row = low[triangle, 0] + offset % width[triangle], low[triangle, 1] + offset // width[triangle]
    centers = np.stack([column + 0.5, row + 0.5], axis=-1)
    a, b, c = np.moveaxis(corners[triangle], 1, 0)
    area = _cross(b - a, c - a)
    parts = [_cross(c - b, centers - b), _cross(a - c, centers - c), _cross(b - a, centers - a)]
    shares = np.stack(parts, axis=-1) / np.where(area == 0, 1.0, area)[:, None]
    inside = (area != 0) & (shares >= -1e-6).all(axis=1)
    return triangle[inside], shares[inside], row[inside], column[inside]


def _cross(a: Float[np.ndarray, "t 2"], b: Float[np.ndarray, "t 2"]) -> Float[np.ndarray, "t"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _colors(
    places: Float[np.ndarray, "t 3"], normals: Float[np.ndarray, "t 3"], seen: Observations
) -> Float[np.ndarray, "t 3"]:
    """Returns colours, asked for in pieces of one size, so that one program is compiled."""
    colors = np.zeros((len(places), 3))
    for start in range(0, len(places), _CHUNK):
        part = slice(start, start + _CHUNK)
        spare = [(0, _CHUNK - len(places[part])), (0, 0)]
        some = [jnp.asarray(np.pad(values[part], spare), jnp.float32) for values in (places, normals)]
        colors[part] = np.asarray(surface_colors(*some, seen, _MARGIN))[: len(places[part])]
    return colors
