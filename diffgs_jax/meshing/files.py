"""Meshes to and from GLB and OBJ.

Both are written y up, as glTF demands and OBJ readers expect: the world's z becomes the file's y, and the side that the
picture showed (azimuth 0, the world's +x) faces the file's +z, glTF's front.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import open_regular, written_beside
from diffgs_jax.meshing.color import linear_to_srgb, srgb_to_linear
from diffgs_jax.meshing.extraction import Mesh
from diffgs_jax.meshing.part_files import read_parts
from diffgs_jax.meshing.parts import MeshFilePart
from diffgs_jax.meshing.surface import vertex_normals
from diffgs_jax.meshing.textures import nearest_texels
from diffgs_jax.meshing.texturing import TexturedMesh

MESH_SUFFIXES = (".glb", ".obj")
"""What `write_mesh` and `read_mesh` know."""

_TO_FILE = [1, 2, 0]  # the file's x, y, z are the world's y, z, x: a turn, not a mirror
_FROM_FILE = [2, 0, 1]
_INWARD = 1e-3


def write_mesh(path: str | os.PathLike[str], mesh: Mesh | TexturedMesh) -> int:
    """Writes a mesh with its vertex colours, `.glb` or `.obj`, as the suffix says; or with its texture, `.glb`.

    Vertex colours are linear in a GLB (glTF 2.0, §3.7.2.1) and sRGB in an OBJ, where red, green and blue follow a
    vertex's position; a texture is a PNG inside the GLB. Needs the extra `mesh`.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        mesh: in the object frame, z up.

    Returns:
        The number of triangles written.

    Raises:
        UserError: if the suffix is another (or .obj, of a texture), a package is missing, or the file cannot be
            written.
        DataError: if a number is not finite.
    """
    trimesh, suffix = _trimesh(), _suffix(path)
    if isinstance(mesh, TexturedMesh) and suffix != ".glb":
        raise UserError(f"{path} cannot hold a texture: write it as .glb")
    if not all(np.isfinite(leaf).all() for leaf in mesh):
        raise DataError(f"the mesh has numbers that are not finite; {path} was not written")
    vertices = np.asarray(mesh.vertices, np.float64)[:, _TO_FILE]
    model = trimesh.Trimesh(vertices, mesh.faces, process=False)
    if isinstance(mesh, TexturedMesh):
        model.visual = trimesh.visual.TextureVisuals(
            uv=mesh.uv,
            material=trimesh.visual.material.PBRMaterial(
                baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=1.0
            ),
        )
        model.vertex_normals = vertex_normals(vertices, np.asarray(mesh.faces))
        with written_beside(path) as beside:
            beside.write_bytes(model.export(file_type="glb", include_normals=True))
        return len(mesh.faces)
    colors = np.clip(np.asarray(mesh.colors, np.float64), 0.0, 1.0)
    if suffix == ".obj":
        model.visual = trimesh.visual.ColorVisuals(model, vertex_colors=_opaque_bytes(colors))
        content = model.export(file_type="obj", include_normals=True).encode()
    else:
        # Vertex colours alone would leave the material to glTF's default, which is metal and looks almost black.
        model.visual = trimesh.visual.TextureVisuals(
            material=trimesh.visual.material.PBRMaterial(metallicFactor=0.0, roughnessFactor=1.0)
        )
        model.visual.vertex_attributes["color"] = _opaque_bytes(srgb_to_linear(colors))
        model.vertex_normals = vertex_normals(vertices, np.asarray(mesh.faces))
        content = model.export(file_type="glb", include_normals=True)
    with written_beside(path) as beside:
        beside.write_bytes(content)
    return len(mesh.faces)


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Reads a GLB or OBJ, y up, into the object frame; several parts become one.

    Colours are those of the material, its texture sampled at the vertices, and the vertices' own; grey where an OBJ has
    none. Needs the extra `mesh` for OBJ.

    Raises:
        UserError: if the suffix is another, a package is missing, or the file cannot be read.
        DataError: if it holds no triangles or is broken.
    """
    path = Path(path)
    _suffix(path)
    with open_regular(path):  # what is no file is told here, and is the user's
        pass
    parts = read_parts(path)
    if not parts:
        raise DataError(f"{path} holds no triangles")
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    mesh = Mesh(
        np.concatenate([part.vertices for part in parts])[:, _FROM_FILE].astype(np.float32),
        np.concatenate([part.faces + start for part, start in zip(parts, offsets, strict=False)]).astype(np.int32),
        np.concatenate([_colors(part) for part in parts]).astype(np.float32),
    )
    if not all(np.isfinite(leaf).all() for leaf in mesh):
        raise DataError(f"{path} has numbers that are not finite")
    return mesh


def _colors(part: MeshFilePart) -> Float[np.ndarray, "v 3"]:
    """Returns the display colours of a part's vertices."""
    colors = part.colors[:, :3]
    texels = np.ones_like(colors)
    if part.texture is not None:
        # Just inside of the triangles, because a corner of a texture is the opposite one's neighbour where it repeats.
        centers, shares = np.zeros_like(part.uv), np.zeros((len(part.uv), 1))
        np.add.at(centers, part.faces.reshape(-1), np.repeat(part.uv[part.faces].mean(axis=1), 3, axis=0))
        np.add.at(shares, part.faces.reshape(-1), 1.0)
        inside = part.uv + _INWARD * (centers / np.maximum(shares, 1.0) - part.uv)
        texels = nearest_texels(part.texture, inside, part.clamped)[:, :3] / 255
    if part.linear:
        return linear_to_srgb(np.clip(colors * srgb_to_linear(texels), 0.0, 1.0))
    return colors * texels


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
