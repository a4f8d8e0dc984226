"""Pictures of meshes by casting rays on the CPU: slower than OpenGL, but needs nothing outside pip.

Needs `embreex` (`pip install embreex`), which is looked for when the first picture is made.
"""

import contextlib
import importlib
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras
from diffgs_jax.meshing import linear_to_srgb, nearest_texels, srgb_to_linear
from diffgs_jax.synthesis.meshes.light import CUT_OUT, GAMMA, brightness, exposed
from diffgs_jax.synthesis.meshes.loading import MeshPart, Surfaces

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
            parts: an object in the object frame, or a room around the cameras.
            cameras: `[n]`.
        """
        with self._scene(parts) as scene:
            views = zip(cameras.camera_to_world, cameras.intrinsics, strict=True)
            return np.stack([self._picture(scene, parts, *view) for view in views])

    def render_surfaces(self, parts: list[MeshPart], cameras: Cameras) -> Surfaces:
        """Returns the depth and the normals of what `render` shows.

        Args:
            parts: as for `render`.
            cameras: as for `render`.
        """
        with self._scene(parts) as scene:
            views = zip(cameras.camera_to_world, cameras.intrinsics, strict=True)
            depth, normals = zip(*(self._surfaces(scene, parts, *view) for view in views), strict=True)
        return Surfaces(np.stack(depth), np.stack(normals))

    def close(self) -> None:
        """Has nothing to free."""

    @contextlib.contextmanager
    def _scene(self, parts: list[MeshPart]) -> Generator[Any]:
        scene = self._scenes.EmbreeScene()
        corners = np.concatenate([part.positions for part in parts]).astype(np.float32)
        mesh = self._meshes.TriangleMesh(scene, corners)  # the scene does not keep it alive
        yield scene
        del mesh

    def _picture(self, scene: Any, parts: list[MeshPart], pose: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        origins, directions = _rays(np.asarray(pose, np.float64), np.asarray(intrinsics, np.float64), self._fine)
        color, passed = np.zeros_like(origins), np.ones(len(origins))
        for active, hits in _layers(scene, parts, origins, directions):
            color[active] += (passed[active] * hits.alpha)[:, None] * hits.shade
            passed[active] *= 1 - hits.alpha
        premultiplied = np.concatenate([color, 1 - passed[:, None]], axis=-1)
        blocks = premultiplied.reshape(self._size, SUPERSAMPLING, self._size, SUPERSAMPLING, 4).mean(axis=(1, 3))
        straight = blocks[..., :3] / np.maximum(blocks[..., 3:], 1e-6)
        return np.rint(255 * np.concatenate([np.clip(straight, 0, 1), blocks[..., 3:]], axis=-1)).astype(np.uint8)

    def _surfaces(
        self, scene: Any, parts: list[MeshPart], pose: np.ndarray, intrinsics: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        pose = np.asarray(pose, np.float64)
        origins, directions = _rays(pose, np.asarray(intrinsics, np.float64), self._size)
        depth, normals = np.full(len(origins), np.nan, np.float32), np.full(origins.shape, np.nan, np.float32)
        for active, hits in _layers(scene, parts, origins, directions):
            first = (hits.alpha >= CUT_OUT) & np.isnan(depth[active])
            depth[active[first]] = (hits.places[first] - pose[:3, 3]) @ pose[:3, 2]
            normals[active[first]] = hits.normals[first]
        return depth.reshape(self._size, self._size), normals.reshape(self._size, self._size, 3)


class _Hits(NamedTuple):
    """Where rays meet surfaces: places, lit colours and normals `[n, 3]`, alpha `[n]`."""

    places: np.ndarray
    shade: np.ndarray
    alpha: np.ndarray
    normals: np.ndarray


def _layers(
    scene: Any, parts: list[MeshPart], origins: np.ndarray, directions: np.ndarray
) -> Iterator[tuple[np.ndarray, _Hits]]:
    """Yields what the rays meet first, then what those meet that passed through it, with the numbers of the rays."""
    origins, active = origins.copy(), np.arange(len(origins))
    for _ in range(_MOST_LAYERS):
        hits = scene.run(origins[active].astype(np.float32), directions[active].astype(np.float32), output=True)
        struck = hits["primID"] >= 0
        active = active[struck]
        if not len(active):
            return
        u, v = hits["u"][struck].astype(np.float64), hits["v"][struck].astype(np.float64)
        distance = hits["tfar"][struck].astype(np.float64)[:, None]
        shade, alpha, normals = _shade(parts, hits["primID"][struck], u, v, directions[active])
        yield active, _Hits(origins[active] + distance * directions[active], shade, alpha, normals)
        origins[active] += (distance + _STEP) * directions[active]
        active = active[alpha < 1]


def _rays(pose: np.ndarray, intrinsics: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    fx, fy, cx, cy = intrinsics
    centres = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid((centres - cx) / fx, (centres - cy) / fy)
    directions = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ pose[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.tile(pose[:3, 3], (len(directions), 1)), directions


def _shade(
    parts: list[MeshPart], faces: np.ndarray, u: np.ndarray, v: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns lit colours `[n, 3]`, alphas `[n]` and normals `[n, 3]` of points on faces, by barycentric (u, v)."""
    weights = np.stack([1 - u - v, u, v], axis=-1)
    starts = np.cumsum([0] + [len(part.positions) for part in parts])
    owner = np.searchsorted(starts, faces, side="right") - 1
    shade, alpha, normals = np.zeros((len(faces), 3)), np.zeros(len(faces)), np.zeros((len(faces), 3))
    for number in np.unique(owner):
        part, here = parts[number], owner == number
        face, weight = faces[here] - starts[number], weights[here]
        base = np.einsum("nc,ncd->nd", weight, part.colors[face])
        if part.texture is not None:
            texels = nearest_texels(part.texture, np.einsum("nc,ncd->nd", weight, part.uv[face]), part.clamped) / 255
            base[:, :3] *= srgb_to_linear(texels[:, :3]) if part.linear else texels[:, :3]
            base[:, 3] *= texels[:, 3]
        if part.linear:
            base[:, :3] = linear_to_srgb(base[:, :3].clip(0.0, 1.0))
        base[:, 3] = base[:, 3].clip(0.0, 1.0) if part.blended else base[:, 3] >= CUT_OUT
        a, b, c = np.moveaxis(part.positions[face], 1, 0)
        surface = np.cross(b - a, c - a)
        surface *= -np.sign(np.sum(surface * directions[here], axis=-1, keepdims=True))
        normal = np.einsum("nc,ncd->nd", weight, part.normals[face])
        behind = np.sum(normal * surface, axis=-1, keepdims=True) < 0
        normal *= np.where(behind, -1.0, 1.0)
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
        if part.light is None:
            shade[here] = np.clip(base[:, :3] * brightness(normal)[:, None], 0, 1)
        else:
            here_and_behind = np.einsum("nc,ncsd->nsd", weight, part.light[face])
            light = np.where(behind, here_and_behind[:, 1], here_and_behind[:, 0])
            shade[here] = exposed(np.maximum(base[:, :3], 0.0) ** GAMMA * light)
        alpha[here], normals[here] = base[:, 3], normal
    return shade, alpha, normals
