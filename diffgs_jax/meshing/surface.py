"""From a field to triangles: marching cubes, loose parts removed, fewer triangles."""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.meshing.carving import Field

LEAST_PART = 0.002
"""Loose parts with a smaller share of the area are dust; twice what is promised, because decimation changes areas."""


_SMOOTHING = 12  # passes, every other one of them outwards; creases are where the views' outlines meet


def surface_of(field: Field, faces: int) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Returns the field's zero level as a closed surface, its triangles counter-clockwise seen from outside.

    Args:
        field: positive inside, negative at its border.
        faces: triangles to keep at most; more where fewer would tear the surface.

    Raises:
        UserError: if the packages are missing.
        DataError: if the field is nowhere positive.
    """
    try:
        import fast_simplification
        import trimesh
        from skimage.measure import marching_cubes
    except ModuleNotFoundError as error:
        raise UserError(f'meshes need {error.name}: pip install "diffgs_jax[mesh]"') from error
    if field.values.max() <= 0:
        raise DataError("the splat is nowhere half opaque: there is no surface to mesh")
    values = np.where(np.abs(field.values) < 1e-6, -1e-6, field.values)  # a corner on the level makes slivers
    vertices, triangles, _, _ = marching_cubes(values, 0.0, gradient_direction="ascent")
    ragged = trimesh.Trimesh(vertices.astype(np.float64), triangles, process=False)
    smooth = trimesh.smoothing.filter_taubin(ragged, iterations=_SMOOTHING)  # keeps sizes, unlike the field's smoothing
    vertices, triangles = tidy(field.origin + field.voxel * np.asarray(smooth.vertices), triangles.astype(np.int64))
    if len(triangles) > faces:
        for share in (1.0, 0.97, 0.94, 0.9):  # fewer edges may close where more did not
            coarse = fast_simplification.simplify(
                vertices.astype(np.float32), triangles.astype(np.int32), target_count=int(share * faces), agg=4
            )
            fewer = tidy(coarse[0].astype(np.float64), coarse[1].astype(np.int64))
            if is_closed(fewer[1]) or not is_closed(triangles):
                return fewer
    return vertices, triangles


def tidy(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], least_part: float = LEAST_PART
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"]]:
    """Returns the mesh without what no mesh should have.

    Vertices at the same place (as float32) become one; triangles without area and pairs of triangles back to back go,
    and so do parts that are connected to nothing and have less than `least_part` of the area.
    """
    place, inverse = np.unique(vertices.astype(np.float32), axis=0, return_inverse=True)
    vertices, faces = place.astype(np.float64), inverse.reshape(-1)[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    _, first, count = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
    faces = faces[np.sort(first[count % 2 == 1])]
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = coo_array((np.ones(len(edges), bool), tuple(edges.T)), shape=(len(vertices), len(vertices)))
    _, part = connected_components(links, directed=False)
    areas = np.bincount(part[faces[:, 0]], weights=face_areas(vertices, faces), minlength=int(part.max(initial=0)) + 1)
    faces = faces[(areas >= least_part * areas.sum())[part[faces[:, 0]]]]
    used, renumbered = np.unique(faces, return_inverse=True)
    return vertices[used], renumbered.reshape(faces.shape)


def is_closed(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Returns whether every edge is shared by exactly two triangles: the surface has an inside."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


def face_areas(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "f"]:
    """Returns the triangles' areas."""
    return np.linalg.norm(_scaled_normals(vertices, faces), axis=1) / 2


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Returns unit normals: the mean of the adjoining triangles', by their areas."""
    across = _scaled_normals(vertices, faces)
    total = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(total, corner, across)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)


def _scaled_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    a, b, c = (vertices[corner] for corner in faces.T)
    return np.cross(b - a, c - a)
