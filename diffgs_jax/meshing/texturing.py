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
from diffgs_jax.meshing.visibility import covered_pixels

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
    places_on_texture = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size], axis=-1)
    triangle, shares, row, column = covered_pixels(places_on_texture[faces], size)
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
