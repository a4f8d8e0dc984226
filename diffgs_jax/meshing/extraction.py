"""A mesh of what a splat shows: its visual hull, cut by what its views see through.

The rendered alpha of every view says where nothing is: a point is kept if all views show it covered (space carving).
Concavities that no silhouette shows are cut by depth: a point also goes if some view still sees through to it. The
levels are those whose silhouettes agree best with the splat's, so fog that is half opaque becomes as large as it looks.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.meshing.carving import carve
from diffgs_jax.meshing.observing import PLANE_SPACING, into_unit_sphere, observe, surface_colors
from diffgs_jax.meshing.surface import surface_of, vertex_normals

_VERTEX_GROUP = 8192  # numbers are rounded up to multiples, so that few programs are compiled


class Mesh(NamedTuple):
    """Triangles with a colour at every corner.

    Attributes:
        vertices: `[v, 3]` in the world of the Gaussians (object frame: z up).
        faces: `[f, 3]` indices into them, counter-clockwise seen from outside.
        colors: `[v, 3]` sRGB in [0, 1].
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    colors: Float[np.ndarray, "v 3"]


def extract_mesh(
    gaussians: Gaussians,
    *,
    resolution: int = 128,
    views: int = 40,
    faces: int = 40_000,
    progress: Callable[[int], object] | None = None,
) -> Mesh:
    """Turns a splat of one object into a closed mesh with vertex colours.

    Needs the extra `mesh`. The same Gaussians give the same mesh.

    Args:
        gaussians: one set, `[n, …]`, of one object, at any place and of any size.
        resolution: voxels along the object's longest side, and pixels along a side of the pictures, 16 to 512.
        views: pictures taken from all around, at least 8.
        faces: triangles to keep at most; parts of the surface that are flat lose theirs first.
        progress: called with the number of views finished since the last call; they are most of the time.

    Returns:
        A mesh without loose parts under 0.1 % of its area.

    Raises:
        UserError: if a setting is out of range or the packages are missing.
        DataError: if the splat is nowhere half opaque, so that there is nothing to mesh.
    """
    if not 16 <= resolution <= 512 or views < 8 or faces < 100:
        raise UserError(
            f"a mesh needs a resolution of 16 to 512, 8 views and 100 faces or more, not {resolution}, {views}, {faces}"
        )
    unit, center, radius = into_unit_sphere(gaussians)
    seen = observe(unit, views, size=-(-resolution // 8) * 8, progress=progress)
    field = carve(seen, resolution)
    vertices, triangles = surface_of(field, faces)
    normals, spare = vertex_normals(vertices, triangles), [(0, -len(vertices) % _VERTEX_GROUP), (0, 0)]
    colors = surface_colors(
        jnp.asarray(np.pad(vertices, spare), jnp.float32),
        jnp.asarray(np.pad(normals, spare), jnp.float32),
        seen,
        PLANE_SPACING + field.voxel,
    )[: len(vertices)]
    return Mesh((vertices * radius + center).astype(np.float32), triangles.astype(np.int32), np.asarray(colors))
