"""Mesh files as triangles in the object frame, with the colour of every corner.

Needs `trimesh` (`pip install diffgs_jax[data]`), which is imported when a mesh is read.
"""

import importlib
import pathlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import normalize_points

_INVISIBLE = 0.02
"""Materials more transparent than this are helpers of the modeller (collision hulls, light cones)."""
_SMOOTH = np.cos(np.radians(60.0))
_LARGEST_TEXTURE = 1024


class MeshPart(NamedTuple):
    """Triangles that share a texture, as a soup: three corners for each face, no index.

    Attributes:
        positions: `[f, 3, 3]` (face, corner, xyz).
        normals: `[f, 3, 3]`, unit length; which side they point to is not known.
        uv: `[f, 3, 2]`, v up, outside [0, 1] repeats.
        colors: `[f, 3, 4]` RGBA in [0, 1], display (sRGB) values, multiplied with the texture.
        texture: `[h, w, 4]` RGBA, straight alpha, top row first, or None.
        blended: True for glass, False for a surface that hides what is behind it (where its texture is not cut out).
        light: `[f, 3, 2, 3]` linear RGB light that falls on each corner, on the side its normal points to and on the
            other; without it, the part is shown in the light of `mesh_light`.
    """

    positions: Float[np.ndarray, "f 3 3"]
    normals: Float[np.ndarray, "f 3 3"]
    uv: Float[np.ndarray, "f 3 2"]
    colors: Float[np.ndarray, "f 3 4"]
    texture: UInt8[np.ndarray, "h w 4"] | None
    blended: bool
    light: Float[np.ndarray, "f 3 2 3"] | None = None


class Surfaces(NamedTuple):
    """What the pixels of posed pictures show, at their centres: the first surface of at least half opacity.

    Attributes:
        depth: `[n, s, s]` planar z in world units, NaN where there is nothing.
        normals: `[n, s, s, 3]` unit vectors in world axes, on the viewer's side, NaN where there is nothing.
    """

    depth: Float[np.ndarray, "n s s"]
    normals: Float[np.ndarray, "n s s 3"]


def load_mesh(
    path: pathlib.Path,
    *,
    up: Literal["y", "z"] = "y",
    rotation: Float[np.ndarray, "3 3"] | None = None,
) -> list[MeshPart]:
    """Reads a mesh file (OBJ, GLB, glTF, PLY, …) and brings it into the object frame.

    A y-up file's front, +z, becomes +x, so that azimuth 0 looks at the front; a z-up file keeps its axes.

    Args:
        path: the file; materials and textures are looked for where it says.
        up: the file's vertical axis.
        rotation: applied first, in the file's axes.

    Raises:
        DataError: if the file cannot be read or holds no visible triangle.
        UserError: if trimesh is not installed.
    """
    parts = list(_file_parts(path))
    if not parts:
        raise DataError(f"{path} holds no visible triangle")
    turn = np.eye(3) if rotation is None else np.asarray(rotation, np.float64)
    if up == "y":
        turn = turn[[2, 0, 1]]
    positions = [part.positions @ turn.T for part in parts]
    try:
        offset, scale = normalize_points(np.concatenate([p.reshape(-1, 3) for p in positions]))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return [
        part._replace(positions=(position + offset) * scale, normals=part.normals @ turn.T)
        for part, position in zip(parts, positions, strict=True)
    ]


def triangles(parts: list[MeshPart]) -> Float[np.ndarray, "f 3 3"]:
    """Returns all the triangles of an object."""
    return np.concatenate([part.positions for part in parts])


def _file_parts(path: pathlib.Path) -> Iterator[MeshPart]:
    trimesh = _trimesh()
    try:
        scene = trimesh.load_scene(path, process=False)
        for node in sorted(scene.graph.nodes_geometry):
            transform, name = scene.graph[node]
            mesh = scene.geometry[name]
            if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
                part = _part(mesh, np.asarray(transform, np.float64))
                if part is not None:
                    yield part
    except Exception as error:  # the reader of every format raises its own kinds
        raise DataError(f"{path} cannot be read as a mesh: {type(error).__name__}: {error}") from None


def _trimesh() -> Any:
    try:
        return importlib.import_module("trimesh")
    except ImportError:
        raise UserError("reading meshes needs trimesh: pip install 'diffgs_jax[data]'") from None


def _part(mesh: Any, transform: np.ndarray) -> MeshPart | None:
    faces = np.asarray(mesh.faces)
    vertices = np.asarray(mesh.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
    positions = vertices[faces]
    flat = np.cross(positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0])
    visible = np.isfinite(positions).all(axis=(1, 2)) & (np.linalg.norm(flat, axis=1) > 0)
    if not visible.any():
        return None
    flat = np.repeat(_unit(flat)[:, None], 3, axis=1)
    normals = _unit(np.asarray(mesh.vertex_normals, np.float64) @ np.linalg.inv(transform[:3, :3]))[faces]
    # Normals that were averaged over a sharp edge would make a box look like a cushion.
    smooth = np.abs(np.sum(normals * flat, axis=-1, keepdims=True)) >= _SMOOTH
    normals = np.where(smooth, normals, flat)
    color, texture, blended = _material(mesh.visual)
    colors = np.broadcast_to(color, (*faces.shape, 4))
    if mesh.visual.kind == "vertex":
        colors = np.asarray(mesh.visual.vertex_colors, np.float64)[faces] / 255
    elif mesh.visual.kind == "face":
        colors = np.repeat(np.asarray(mesh.visual.face_colors, np.float64)[:, None] / 255, 3, axis=1)
    uv = getattr(mesh.visual, "uv", None)
    if uv is None or len(uv) != len(vertices):
        uv, texture = np.zeros((len(vertices), 2)), None
    if colors[..., 3].max() < _INVISIBLE:
        return None
    return MeshPart(
        positions=positions[visible],
        normals=normals[visible],
        uv=np.nan_to_num(np.asarray(uv, np.float64)[faces][visible]),
        colors=np.array(colors[visible], np.float64),
        texture=texture,
        blended=blended or bool(colors[visible][..., 3].min() < 0.95),
    )


def _material(visual: Any) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Returns (RGBA factor in display values, texture, is glass) of a trimesh visual."""
    material = getattr(visual, "material", None)
    if material is None:
        return np.asarray([0.7, 0.7, 0.7, 1.0]), None, False
    if isinstance(material, _trimesh().visual.material.PBRMaterial):
        factor = np.ones(4) if material.baseColorFactor is None else np.asarray(material.baseColorFactor) / 255
        # glTF factors are linear light, where everything else here is in display values.
        color = np.append(_display(factor[:3]), factor[3])
        opaque = material.alphaMode in (None, "OPAQUE")
        texture = _texture(material.baseColorTexture, opaque=opaque)
        color[3] = 1.0 if opaque else color[3]
        return color, texture, bool(color[3] < 0.95)
    texture = _texture(getattr(material, "image", None), opaque=False)
    color = np.asarray(material.diffuse, np.float64) / 255
    if texture is not None:
        # Exporters leave in Kd whatever colour the texture hid, black or a default grey included.
        color[:3] = 1.0
    color[3] = _mtl_opacity(getattr(material, "kwargs", {}))
    return color, texture, bool(color[3] < 0.95)


def _mtl_opacity(options: dict[str, Any]) -> float:
    """Returns the `d` (dissolve) of an MTL material, or 1 − `Tr`; 1 where neither is a number."""
    for key, opacity in (("d", lambda value: value), ("tr", lambda value: 1.0 - value)):
        try:
            return float(np.clip(opacity(float(options[key][-1])), 0.0, 1.0))
        except (KeyError, IndexError, ValueError):
            continue
    return 1.0


def _texture(image: Any, *, opaque: bool) -> np.ndarray | None:
    if image is None:
        return None
    if max(image.size) > _LARGEST_TEXTURE:
        shrink = _LARGEST_TEXTURE / max(image.size)
        image = image.convert("RGBA").resize([max(1, round(side * shrink)) for side in image.size], reducing_gap=2.0)
    pixels = np.array(image.convert("RGBA"))
    if opaque:
        pixels[..., 3] = 255
    return pixels


def _display(linear: np.ndarray) -> np.ndarray:
    """Turns linear light into sRGB display values (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
