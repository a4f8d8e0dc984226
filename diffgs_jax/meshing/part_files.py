"""Mesh files of any kind as parts: glTF by our own reader, the others by trimesh."""

import importlib
import io
import pathlib
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import one_line, read_regular, shown
from diffgs_jax.files.images import open_image
from diffgs_jax.meshing.gltf import GLTF_SUFFIXES, read_gltf
from diffgs_jax.meshing.parts import MOST_TRIANGLES, SOLID, MeshFilePart
from diffgs_jax.meshing.textures import shrunk_texture

PART_SUFFIXES = (*GLTF_SUFFIXES, ".obj", ".ply", ".stl", ".off")
"""What `read_parts` reads."""

_MOST_BYTES = 256 * 2**20
_GREY = (0.7, 0.7, 0.7, 1.0)


def read_parts(path: pathlib.Path) -> list[MeshFilePart]:
    """Returns the triangles of a mesh file, in its axes.

    Vertex colours of an OBJ, a habit of many tools, take the place of its material's colour and multiply its texture.
    A texture that an MTL file names and that is not in the OBJ's folder, as happens with files that were moved, leaves
    the material's colour.

    Args:
        path: GLB, glTF, OBJ, PLY, STL or OFF, of at most 256 MiB (glTF: 512) and 2 million triangles.

    Raises:
        DataError: if the file cannot be read or is too large.
        UserError: if its suffix is another, or trimesh, for all but glTF, is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in PART_SUFFIXES:
        raise UserError(f"{path} has no suffix of a mesh: use {', '.join(PART_SUFFIXES)}")
    if suffix in GLTF_SUFFIXES:
        return read_gltf(path)
    trimesh = _trimesh()
    data, folder = read_regular(path, limit=_MOST_BYTES, unreadable=DataError), _Folder(path)
    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type=suffix[1:], resolver=folder, process=False)
        if folder.problem:
            raise DataError(folder.problem)
        placed = [scene.graph[node] for node in sorted(scene.graph.nodes_geometry)]
        meshes = [(scene.geometry[name], np.asarray(pose, np.float64)) for pose, name in placed]
        meshes = [(mesh, pose) for mesh, pose in meshes if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
        if sum(len(mesh.faces) for mesh, _ in meshes) > MOST_TRIANGLES:
            raise DataError(f"{path} has more than {MOST_TRIANGLES} triangles; simplify it first")
        return [_part(mesh, pose, folder.pictures) for mesh, pose in meshes]
    except DataError:
        raise
    except Exception as error:  # the reader of every format raises its own kinds
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(f"{shown(path)} cannot be read as a mesh: {reason}") from None


class _Folder:
    """Gives trimesh the files beside a mesh, and no others; pictures are decoded here."""

    def __init__(self, path: pathlib.Path):
        self.file_name = path.name
        self.problem: str | None = None
        self.pictures: dict[str, Image.Image] = {}
        self._folder = path.parent

    def __getitem__(self, name: str) -> bytes:
        """Returns a material library."""
        return self._read(name)

    def get(self, name: str) -> bytes:
        """Returns a picture; one that is there and cannot be read is kept in mind, because trimesh goes on without."""
        data = self._read(name)
        try:
            self.pictures[name] = open_image(data, name, upright=False)
        except DataError as error:
            self.problem = str(error)
            raise
        return data

    def _read(self, name: str) -> bytes:
        folder = self._folder.resolve()
        for candidate in (name.strip(), name.strip().lstrip("/"), pathlib.PurePosixPath(name.strip()).name):
            file = (folder / candidate).resolve()
            if file.is_relative_to(folder) and file.is_file():
                return read_regular(file, limit=_MOST_BYTES, unreadable=DataError)
        raise FileNotFoundError(name)


def _part(mesh: Any, pose: np.ndarray, images: dict[str, Image.Image]) -> MeshFilePart:
    visual, faces = mesh.visual, np.asarray(mesh.faces)
    vertices, normals = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.vertex_normals, np.float64)
    vertices = vertices @ pose[:3, :3].T + pose[:3, 3]
    normals = normals @ np.linalg.inv(pose[:3, :3])
    own = _vertex_colors(mesh)
    color, texture = _material(visual, images, colored=own is not None)
    uv = getattr(visual, "uv", None)
    if uv is None or len(uv) != len(vertices):
        uv, texture = np.zeros((len(vertices), 2)), None
    colors = np.tile(np.asarray(color, np.float64), (len(vertices), 1))
    if own is not None:
        colors[:, : own.shape[1]] = own
    elif visual.kind == "face":  # every corner becomes a vertex, so that faces can have colours of their own
        colors = np.repeat(np.asarray(visual.face_colors, np.float64) / 255, 3, axis=0)
        vertices, normals, uv = (values[faces.reshape(-1)] for values in (vertices, normals, np.asarray(uv)))
        faces = np.arange(len(colors)).reshape(-1, 3)
    if not np.isfinite(colors).all():
        raise ValueError("it has colours that are not finite")
    blended = bool(colors[faces][..., 3].min() < SOLID)
    if not blended:
        colors[:, 3] = 1.0
    return MeshFilePart(
        vertices=vertices,
        normals=normals,
        faces=faces,
        uv=np.nan_to_num(np.asarray(uv, np.float64)),
        colors=colors,
        linear=False,
        texture=texture,
        clamped=(False, False),
        transparency="blended" if blended else "cut",
    )


def _vertex_colors(mesh: Any) -> np.ndarray | None:
    """Returns the colours of vertices, `[v, 3]` or `[v, 4]`, or None."""
    if mesh.visual.kind == "vertex":
        return np.asarray(mesh.visual.vertex_colors, np.float64) / 255
    own = np.asarray(mesh.vertex_attributes.get("color", ()))  # beside a material, trimesh keeps them here
    if len(own) != len(mesh.vertices):
        return None
    own = own / 255 if own.dtype == np.uint8 else own.astype(np.float64)
    return own[:, :3].clip(0.0, 1.0)


def _material(
    visual: Any, images: dict[str, Image.Image], *, colored: bool
) -> tuple[tuple[float, ...], UInt8[np.ndarray, "h w 4"] | None]:
    """Returns RGBA and texture of a trimesh visual; `colored` says that its vertices have colours."""
    material = getattr(visual, "material", None)
    if material is None:
        return _GREY, None
    image = getattr(material, "image", None)
    if image is not None and "file_path" in image.info:
        image = images[image.info["file_path"]]
    elif colored:
        image = None  # one that trimesh made up, in the grey of what has no material
    texture = None if image is None else shrunk_texture(image)
    color = [float(value) / 255 for value in np.asarray(material.diffuse)[:3]]
    if texture is not None:
        # Exporters leave in Kd whatever colour the texture hid, black or a default grey included.
        color = [1.0, 1.0, 1.0]
    return (*color, _mtl_opacity(getattr(material, "kwargs", {}))), texture


def _mtl_opacity(options: dict[str, Any]) -> float:
    """Returns the `d` (dissolve) of an MTL material, or 1 − `Tr`; 1 where neither is a number."""
    for key, opacity in (("d", lambda value: value), ("tr", lambda value: 1.0 - value)):
        try:
            return float(np.clip(opacity(float(options[key][-1])), 0.0, 1.0))
        except (KeyError, IndexError, ValueError):
            continue
    return 1.0


def _trimesh() -> Any:
    try:
        return importlib.import_module("trimesh")
    except ImportError:
        raise UserError('reading meshes needs trimesh: pip install "diffgs_jax[mesh]"') from None
