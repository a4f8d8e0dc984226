"""Mesh files as triangles in the object frame, with the colour of every corner.

All but glTF needs `trimesh` (`pip install diffgs_jax[data]`), which is imported when a mesh is read.
"""

import pathlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import normalize_points
from diffgs_jax.meshing import SOLID, MeshFilePart, read_parts
from diffgs_jax.synthesis.meshes.light import CUT_OUT

_INVISIBLE = 0.02
"""Materials more transparent than this are helpers of the modeller (collision hulls, light cones)."""
_SMOOTH = np.cos(np.radians(60.0))


class MeshPart(NamedTuple):
    """Triangles that share a texture, as a soup: three corners for each face, no index.

    Attributes:
        positions: `[f, 3, 3]` (face, corner, xyz).
        normals: `[f, 3, 3]`, unit length; which side they point to is not known.
        uv: `[f, 3, 2]`, v up.
        colors: `[f, 3, 4]` RGBA, multiplied with the texture.
        texture: `[h, w, 4]` RGBA display (sRGB) values, straight alpha, top row first, or None.
        blended: True for glass, whose alpha (texture × corners) says how much it hides; False for a surface that hides
            what is behind it, but for holes where its alpha is under `CUT_OUT`.
        light: `[f, 3, 2, 3]` linear RGB light that falls on each corner, on the side its normal points to and on the
            other; without it, the part is shown in the light of `light.py`.
        linear: whether `colors` are linear light, as glTF's are, multiplied with the texture's linear light; display
            values, multiplied with the texture's, otherwise.
        clamped: in u and v, whether the texture's edge goes on outside of [0, 1]; it repeats otherwise.
    """

    positions: Float[np.ndarray, "f 3 3"]
    normals: Float[np.ndarray, "f 3 3"]
    uv: Float[np.ndarray, "f 3 2"]
    colors: Float[np.ndarray, "f 3 4"]
    texture: UInt8[np.ndarray, "h w 4"] | None
    blended: bool
    light: Float[np.ndarray, "f 3 2 3"] | None = None
    linear: bool = False
    clamped: tuple[bool, bool] = (False, False)


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
    read: Callable[[pathlib.Path], list[MeshFilePart]] = read_parts,
) -> list[MeshPart]:
    """Reads a mesh file (GLB, glTF, OBJ, PLY, STL, OFF) and brings it into the object frame.

    A y-up file's front, +z, becomes +x, so that azimuth 0 looks at the front; a z-up file keeps its axes.

    Args:
        path: the file; materials and textures are looked for where it says.
        up: the file's vertical axis.
        rotation: applied first, in the file's axes.
        read: reads it, where it is of a game or program of its own.

    Raises:
        DataError: if the file cannot be read or holds no visible triangle.
        UserError: if trimesh is needed and not installed, or the suffix is none of a mesh.
    """
    parts = [part for part in map(_soup, read(path)) if part is not None]
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


def _soup(part: MeshFilePart) -> MeshPart | None:
    """Returns a part corner by corner, without triangles that have no area or a corner that is not finite."""
    faces = part.faces
    positions = part.vertices[faces]
    flat = np.cross(positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0])
    visible = np.isfinite(positions).all(axis=(1, 2)) & (np.linalg.norm(flat, axis=1) > 0)
    colors = part.colors[faces]
    if not visible.any() or colors[..., 3].max() < (CUT_OUT if part.transparency == "cut" else _INVISIBLE):
        return None
    least = colors[..., 3].min() * (1.0 if part.texture is None else part.texture[..., 3].min() / 255)
    flat = np.repeat(_unit(flat)[:, None], 3, axis=1)
    normals = flat
    if part.normals is not None:
        # Normals that were averaged over a sharp edge would make a box look like a cushion.
        stored = _unit(part.normals)[faces]
        smooth = np.abs(np.sum(stored * flat, axis=-1, keepdims=True)) >= _SMOOTH
        normals = np.where(smooth, stored, flat)
    return MeshPart(
        positions=positions[visible],
        normals=normals[visible],
        uv=part.uv[faces][visible],
        colors=colors[visible],
        texture=part.texture,
        blended=part.transparency == "blended" and bool(least < SOLID),
        linear=part.linear,
        clamped=part.clamped,
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
