"""What a viewer can show: files of splats and meshes."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path, open_regular
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import SPLAT_SUFFIXES, holds_gltf_splats, read_gaussians
from diffgs_jax.meshing import MESH_SUFFIXES, read_mesh, write_mesh

SUFFIXES = (*SPLAT_SUFFIXES, *MESH_SUFFIXES)
"""What `read_viewable` reads."""

_INSTALL = 'showing meshes needs trimesh: pip install "diffgs_jax[view]"'


class MeshFile(NamedTuple):
    """Triangles with colours or textures, as a file.

    Attributes:
        glb: the whole scene as a binary glTF file, which browsers read.
        vertices: `[n, 3]` of all its parts, world units.
        triangles: their number.
    """

    glb: bytes
    vertices: Float[np.ndarray, "n 3"]
    triangles: int


Viewable = Gaussians | MeshFile


def read_viewable(path: str | os.PathLike[str]) -> Viewable:
    """Reads a file to show.

    Args:
        path: .ply, .spz, .splat, .sog or .glb of Gaussians; .glb or .obj of triangles, with the textures beside it.

    Raises:
        UserError: if the suffix is another, the file is missing or cannot be read, or a mesh's reader is not installed.
        DataError: if it is truncated, corrupt, not what its suffix says, or empty.
    """
    path = checked_path(path)
    if not path.exists():
        raise UserError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix in SPLAT_SUFFIXES or (suffix == ".glb" and holds_gltf_splats(path)):
        gaussians = read_gaussians(path)
        if not len(gaussians.means):
            raise DataError(f"{path} holds no Gaussians")
        return gaussians
    if suffix in MESH_SUFFIXES:
        return _read_mesh(path)
    raise UserError(f"{path} cannot be shown: its suffix is none of {', '.join(SUFFIXES)}")


def _read_mesh(path: Path) -> MeshFile:
    try:
        import trimesh
        from trimesh.visual import TextureVisuals
    except ImportError:
        raise UserError(_INSTALL) from None
    with open_regular(path):  # trimesh would wait for a pipe
        pass
    try:
        scene = trimesh.load_scene(path)
        meshes = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # trimesh's readers let out whatever their parsing stumbled over
        raise DataError(f"{path} cannot be read as a mesh ({type(error).__name__}: {error})") from error
    if not meshes:
        raise DataError(f"{path} holds no triangles")
    vertices = np.concatenate([part.vertices for part in meshes]).astype(np.float32)
    if not np.isfinite(vertices).all():
        raise DataError(f"{path} has vertices that are not finite")
    if path.suffix.lower() == ".glb":
        glb = path.read_bytes()
    elif any(isinstance(part.visual, TextureVisuals) for part in meshes):
        glb = scene.export(file_type="glb")
    else:  # our own writer knows that a GLB's vertex colours are linear
        with tempfile.TemporaryDirectory() as folder:
            write_mesh(Path(folder) / "mesh.glb", read_mesh(path))
            glb = (Path(folder) / "mesh.glb").read_bytes()
    return MeshFile(glb, vertices, sum(len(part.faces) for part in meshes))
