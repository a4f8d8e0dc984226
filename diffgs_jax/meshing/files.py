"""Meshes to and from GLB and OBJ, by trimesh.

Both are written y up, as glTF demands and OBJ readers expect: the world's z becomes the file's y, and the side that the
picture showed (azimuth 0, the world's +x) faces the file's +z, glTF's front.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import written_beside
from diffgs_jax.meshing.extraction import Mesh
from diffgs_jax.meshing.surface import vertex_normals

MESH_SUFFIXES = (".glb", ".obj")
"""What `write_mesh` and `read_mesh` know."""

_TO_FILE = [1, 2, 0]  # the file's x, y, z are the world's y, z, x: a turn, not a mirror
_FROM_FILE = [2, 0, 1]


def write_mesh(path: str | os.PathLike[str], mesh: Mesh) -> int:
    """Writes a mesh with its vertex colours; `.glb` or `.obj`, as the suffix says.

    Colours are linear in a GLB (glTF 2.0, §3.7.2.1) and sRGB in an OBJ, where red, green and blue follow a vertex's
    position. Needs the extra `mesh`.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        mesh: in the object frame, z up.

    Returns:
        The number of triangles written.

    Raises:
        UserError: if the suffix is another, a package is missing, or the file cannot be written.
        DataError: if a number is not finite.
    """
    trimesh, suffix = _trimesh(), _suffix(path)
    if not all(np.isfinite(leaf).all() for leaf in mesh):
        raise DataError(f"the mesh has numbers that are not finite; {path} was not written")
    colors = np.clip(np.asarray(mesh.colors, np.float64), 0.0, 1.0)
    vertices = np.asarray(mesh.vertices, np.float64)[:, _TO_FILE]
    model = trimesh.Trimesh(vertices, mesh.faces, process=False)
    if suffix == ".obj":
        model.visual = trimesh.visual.ColorVisuals(model, vertex_colors=_opaque_bytes(colors))
        content = model.export(file_type="obj", include_normals=True).encode()
    else:
        # Vertex colours alone would leave the material to glTF's default, which is metal and looks almost black.
        model.visual = trimesh.visual.TextureVisuals(
            material=trimesh.visual.material.PBRMaterial(metallicFactor=0.0, roughnessFactor=1.0)
        )
        model.visual.vertex_attributes["color"] = _opaque_bytes(_linear(colors))
        model.vertex_normals = vertex_normals(vertices, np.asarray(mesh.faces))
        content = model.export(file_type="glb", include_normals=True)
    with written_beside(path) as beside:
        beside.write_bytes(content)
    return len(mesh.faces)


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Reads a GLB or OBJ, y up, into the object frame; several parts become one. Needs the extra `mesh`.

    Colours are those of vertices or, sampled there, of a texture; grey where there are none.

    Raises:
        UserError: if the suffix is another, a package is missing, or the file cannot be read.
        DataError: if it holds no triangles or is broken.
    """
    trimesh, suffix = _trimesh(), _suffix(path)
    if not Path(path).is_file():
        raise UserError(f"cannot read {path}: there is no such file")
    try:
        scene = trimesh.load_scene(path, process=False)
        parts = [
            (scene.geometry[name], pose) for pose, name in (scene.graph[node] for node in scene.graph.nodes_geometry)
        ]
    except Exception as error:  # whatever the parsers stumble over: they promise no kind
        raise DataError(f"{path} is not a readable {suffix[1:].upper()}: {error}") from error
    parts = [(part, pose) for part, pose in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if not parts:
        raise DataError(f"{path} holds no triangles")
    offsets = np.cumsum([0, *(len(part.vertices) for part, _ in parts)])
    vertices = [trimesh.transform_points(part.vertices, pose) for part, pose in parts]
    mesh = Mesh(
        np.concatenate(vertices)[:, _FROM_FILE].astype(np.float32),
        np.concatenate([part.faces + start for (part, _), start in zip(parts, offsets, strict=False)]).astype(np.int32),
        np.concatenate([_colors(part, is_linear=suffix == ".glb") for part, _ in parts]).astype(np.float32),
    )
    if not all(np.isfinite(leaf).all() for leaf in mesh):
        raise DataError(f"{path} has numbers that are not finite")
    return mesh


def _colors(part: Any, is_linear: bool) -> Float[np.ndarray, "v 3"]:
    stored = getattr(part.visual, "vertex_attributes", {})
    if "color" in stored and len(stored["color"]) == len(part.vertices):
        values = np.asarray(stored["color"])
    elif part.visual.kind == "texture" and part.visual.uv is not None:
        return np.asarray(part.visual.to_color().vertex_colors)[:, :3] / 255.0
    elif part.visual.kind == "vertex":
        values = np.asarray(part.visual.vertex_colors)
    else:
        return np.full((len(part.vertices), 3), 0.7)
    values = values[:, :3] / 255.0 if values.dtype == np.uint8 else values[:, :3].astype(np.float64)
    return _srgb(values) if is_linear else values


def _linear(srgb: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Decodes sRGB (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _srgb(linear: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Encodes sRGB."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0) ** (1 / 2.4) - 0.055)


def _opaque_bytes(colors: Float[np.ndarray, "v 3"]) -> np.ndarray:
    return np.pad(np.round(255 * colors), [(0, 0), (0, 1)], constant_values=255).astype(np.uint8)


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise UserError(f"{path} has no suffix of a mesh: use {', '.join(MESH_SUFFIXES)}")
    return suffix


def _trimesh() -> Any:
    try:
        import trimesh
    except ModuleNotFoundError as error:
        raise UserError('mesh files need trimesh: pip install "diffgs_jax[mesh]"') from error
    return trimesh
