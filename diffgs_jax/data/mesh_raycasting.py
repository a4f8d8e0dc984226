"""Pictures of meshes by casting rays on the CPU: slower than OpenGL, but needs nothing outside pip.

Needs `embreex` (`pip install embreex`), which is looked for when the first picture is made.
"""

import importlib
from typing import Any

import numpy as np
from jaxtyping import UInt8

from diffgs_jax.data.mesh_light import CUT_OUT, brightness
from diffgs_jax.data.mesh_loading import MeshPart
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras

SUPERSAMPLING = 4
_MOST_LAYERS = 16
_STEP = 1e-4
"""How far behind a pane of glass or a hole a ray goes on, object-frame units."""


class RayCaster:
    """Does what `MeshRenderer` does, without OpenGL."""

    def __init__(self, size: int):
        """Looks for Embree.

        Args:
            size: height and width of the pictures, pixels.

        Raises:
            UserError: if there is no embreex.
        """
        try:
            self._meshes: Any = importlib.import_module("embreex.mesh_construction")
            self._scenes: Any = importlib.import_module("embreex.rtcore_scene")
        except ImportError:
            raise UserError("casting rays at meshes needs embreex: pip install embreex") from None
        self._size, self._fine = size, size * SUPERSAMPLING

    def render(self, parts: list[MeshPart], cameras: Cameras) -> UInt8[np.ndarray, "n s s 4"]:
        """Returns RGBA pictures, straight alpha, transparent where there is nothing.

        Args:
            parts: an object in the object frame.
            cameras: `[n]` cameras outside the unit sphere.
        """
        scene = self._scenes.EmbreeScene()
        corners = np.concatenate([part.positions for part in parts]).astype(np.float32)
        mesh = self._meshes.TriangleMesh(scene, corners)  # the scene does not keep it alive
        views = zip(cameras.camera_to_world, cameras.intrinsics, strict=True)
        pictures = np.stack([self._picture(scene, parts, *view) for view in views])
        del mesh
        return pictures

    def close(self) -> None:
        """Has nothing to free."""

    def _picture(self, scene: Any, parts: list[MeshPart], pose: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        origins, directions = _rays(np.asarray(pose, np.float64), np.asarray(intrinsics, np.float64), self._fine)
        color, passed = np.zeros_like(origins), np.ones(len(origins))
        active = np.arange(len(origins))
        for _ in range(_MOST_LAYERS):
            hits = scene.run(origins[active].astype(np.float32), directions[active].astype(np.float32), output=True)
            struck = hits["primID"] >= 0
            active = active[struck]
            if not len(active):
                break
            u, v = hits["u"][struck].astype(np.float64), hits["v"][struck].astype(np.float64)
            shade, alpha = _shade(parts, hits["primID"][struck], u, v, directions[active])
            color[active] += (passed[active] * alpha)[:, None] * shade
            passed[active] *= 1 - alpha
            origins[active] += (hits["tfar"][struck].astype(np.float64) + _STEP)[:, None] * directions[active]
            active = active[alpha < 1]
        premultiplied = np.concatenate([color, 1 - passed[:, None]], axis=-1)
        blocks = premultiplied.reshape(self._size, SUPERSAMPLING, self._size, SUPERSAMPLING, 4).mean(axis=(1, 3))
        straight = blocks[..., :3] / np.maximum(blocks[..., 3:], 1e-6)
        return np.rint(255 * np.concatenate([np.clip(straight, 0, 1), blocks[..., 3:]], axis=-1)).astype(np.uint8)


def _rays(pose: np.ndarray, intrinsics: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    fx, fy, cx, cy = intrinsics
    centres = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid((centres - cx) / fx, (centres - cy) / fy)
    directions = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ pose[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.tile(pose[:3, 3], (len(directions), 1)), directions


def _shade(
    parts: list[MeshPart], faces: np.ndarray, u: np.ndarray, v: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lit colour `[n, 3]` and alpha `[n]` of points on faces, given by number and barycentric (u, v)."""
    weights = np.stack([1 - u - v, u, v], axis=-1)
    starts = np.cumsum([0] + [len(part.positions) for part in parts])
    owner = np.searchsorted(starts, faces, side="right") - 1
    shade, alpha = np.zeros((len(faces), 3)), np.zeros(len(faces))
    for number in np.unique(owner):
        part, here = parts[number], owner == number
        face, weight = faces[here] - starts[number], weights[here]
        base = np.einsum("nc,ncd->nd", weight, part.colors[face])
        if not part.blended:
            base[:, 3] = 1.0
        if part.texture is not None:
            texels = _texels(part.texture, np.einsum("nc,ncd->nd", weight, part.uv[face]))
            base[:, :3] *= texels[:, :3]
            base[:, 3] *= texels[:, 3] >= CUT_OUT
        a, b, c = np.moveaxis(part.positions[face], 1, 0)
        surface = np.cross(b - a, c - a)
        surface *= -np.sign(np.sum(surface * directions[here], axis=-1, keepdims=True))
        normal = np.einsum("nc,ncd->nd", weight, part.normals[face])
        normal *= np.where(np.sum(normal * surface, axis=-1, keepdims=True) < 0, -1.0, 1.0)
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
        shade[here] = np.clip(base[:, :3] * brightness(normal)[:, None], 0, 1)
        alpha[here] = base[:, 3]
    return shade, alpha


def _texels(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Returns the nearest texels in [0, 1]; many rays a pixel average them."""
    height, width = texture.shape[:2]
    column = np.floor(uv[:, 0] * width).astype(int) % width
    row = np.floor((1 - uv[:, 1]) * height).astype(int) % height
    return texture[row, column] / 255
