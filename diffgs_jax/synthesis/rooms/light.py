"""Light in a room, computed once for every corner of every triangle: daylight, sun, lamps, and two bounces of it.

It does not depend on the viewpoint, so all views of a room agree about every surface, as pictures of matt surfaces do.
Irradiance is kept divided by π, so that a surface of reflectance a sends a × it.
"""

import importlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import UserError
from diffgs_jax.meshing import linear_to_srgb, nearest_texels
from diffgs_jax.synthesis.meshes.light import GAMMA
from diffgs_jax.synthesis.meshes.loading import MeshPart

_LIFT = 0.004
"""How far from its surface a ray begins, metres."""
_INWARDS = 0.02
"""How far from the edge of a surface, metres."""
_CELL, _FINE_CELL = 0.035, 0.004
"""Corners in a cell of this size that face the same way share their light, metres: of finely cut things, of others."""
_LONGEST_EDGE = 0.35
"""Larger triangles are cut, so that light can vary on them, metres."""
_RAYS_AT_ONCE = 400_000


class Glow(NamedTuple):
    """Something that shines: points of it, each with the light it sends.

    Attributes:
        points: `[k, 3]`.
        normals: `[k, 3]` where it shines to, or zeros where it shines everywhere alike.
        power: `[k, 3]` RGB: radiance × area of what the point stands for.
    """

    points: np.ndarray
    normals: np.ndarray
    power: np.ndarray


class Sun(NamedTuple):
    """Parallel light.

    Attributes:
        direction: `[3]` to the sun.
        light: `[3]` RGB irradiance over π of what faces it.
    """

    direction: np.ndarray
    light: np.ndarray


class RayScene:
    """Triangles that rays can be cast at."""

    def __init__(self, parts: list[MeshPart]):
        """Builds Embree's scene.

        Raises:
            UserError: if there is no embreex.
        """
        try:
            meshes: Any = importlib.import_module("embreex.mesh_construction")
            scenes: Any = importlib.import_module("embreex.rtcore_scene")
        except ImportError:
            raise UserError("light in rooms needs embreex: pip install 'diffgs_jax[data]'") from None
        self._scene = scenes.EmbreeScene()
        corners = np.concatenate([part.positions for part in parts]).astype(np.float32)
        self._mesh = meshes.TriangleMesh(self._scene, corners)

    def hits(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """Returns Embree's answer for rays: primID (−1 for none), u, v, tfar."""
        return self._scene.run(origins.astype(np.float32), directions.astype(np.float32), output=True)

    def distances(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Returns how far rays go, infinity where nothing is met."""
        hits = self.hits(origins, directions)
        return np.where(hits["primID"] >= 0, hits["tfar"], np.inf)

    def free(self, origins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Returns where nothing lies between two points."""
        free = np.ones(len(origins), bool)
        for start in range(0, len(origins), _RAYS_AT_ONCE):
            some = slice(start, start + _RAYS_AT_ONCE)
            way = ends[some] - origins[some]
            length = np.linalg.norm(way, axis=1)
            free[some] = self.distances(origins[some], way / length[:, None]) > length - 0.01
        return free


def light_room(
    parts: list[MeshPart],
    glows: list[Glow],
    sun: Sun | None,
    *,
    ambient: float = 0.03,
    rays: int = 48,
    bounces: int = 2,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> list[MeshPart]:
    """Returns the parts with light on every corner, large triangles cut; parts that have light already keep theirs.

    Args:
        parts: what is lit, and what shines (has `light`), which casts no shadow.
        glows: windows and lamps.
        sun: comes in where nothing is in its way.
        ambient: light that is everywhere, as a part of the mean of all other light: what further bounces would bring.
        rays: for each corner, to gather the light that comes from other surfaces.
        bounces: how often light is sent on.
        bounds: the room's corners; sides of surfaces that are outside stay dark, which saves half the walls' rays.
        seed: of the rays' directions, the same for all corners, so that light is even on even walls.
    """
    shining = [part for part in parts if part.light is not None]
    matt = [_cut(part) for part in parts if part.light is None]
    scene = RayScene(matt)
    positions = np.concatenate([part.positions for part in matt]).reshape(-1, 3)
    normals = np.concatenate([part.normals for part in matt]).reshape(-1, 3)
    fine = np.concatenate([np.full(3 * len(part.positions), not _is_dense(part)) for part in matt])
    first, corner_of = _alike(positions, normals, np.where(fine, _FINE_CELL, _CELL))
    # Towards the middle of its faces, because a corner of the room lies in the other walls' planes, neither in nor out.
    inwards = np.concatenate([part.positions.mean(axis=1, keepdims=True) - part.positions for part in matt]).reshape(
        -1, 3
    )
    inwards /= np.maximum(np.linalg.norm(inwards, axis=1, keepdims=True), 1e-9)
    counts = np.bincount(corner_of)[:, None]
    mean = np.stack([np.bincount(corner_of, inwards[:, axis]) for axis in range(3)], axis=1) / counts
    points = np.tile(positions[first] + _INWARDS * mean, (2, 1))
    facing = np.concatenate([normals[first], -normals[first]])
    origins = points + _LIFT * facing
    inside = np.ones(len(origins), bool)
    if bounds is not None:
        inside = ((origins > bounds[0]) & (origins < bounds[1])).all(axis=1)
    direct = np.zeros_like(origins)
    direct[inside] = _direct(scene, origins[inside], facing[inside], glows, sun)
    total = direct.copy()
    corners = corner_of.reshape(-1, 3)  # of each face, into the first half of `points`
    albedo = np.concatenate([_albedo(part) for part in matt])
    walls = np.tile(fine[first], 2) & inside
    # Walls are even and large, so that what few rays miss would show on them.
    groups = [
        (one, _Gathered(scene, origins[one], facing[one], corners, normals.reshape(-1, 3, 3), count, seed))
        for one, count in ((walls, 4 * rays), (inside & ~walls, rays))
    ]
    for _ in range(bounces):
        sent = _sent(total, corners, albedo)
        for one, gathered in groups:
            total[one] = direct[one] + gathered.mean_of(*sent)
    total += ambient * np.mean(total[inside], axis=0)
    half = len(first)
    light = np.stack([total[:half][corners], total[half:][corners]], axis=2)  # [f, 3, 2, 3]
    lit, start = [], 0
    for part in matt:
        lit.append(part._replace(light=light[start : start + len(part.positions)]))
        start += len(part.positions)
    return lit + shining


def expose(parts: list[MeshPart], seen: Float[np.ndarray, "f"], target: float = 0.6) -> list[MeshPart]:
    """Returns the parts with all light scaled so that what is seen sends `target` in the median.

    Args:
        parts: lit; those that shine by themselves, at the end, keep their light.
        seen: how much of each face is seen, of as many faces as are scaled.
        target: linear light (see `mesh_light.exposed`).
    """
    count, scaled, sent = 0, [], []
    for part in parts:
        if count < len(seen):
            assert part.light is not None
            sent.append(_albedo(part).mean(axis=1) * part.light.max(axis=2).mean(axis=(1, 2)))
            scaled.append(part)
            count += len(part.positions)
    values = np.concatenate(sent)
    order = np.argsort(values)
    weight = np.cumsum(seen[order])
    median = values[order][np.searchsorted(weight, weight[-1] / 2)]
    factor = target / max(float(median), 1e-6)
    return [part._replace(light=part.light * factor) for part in scaled] + parts[len(scaled) :]


def _sent(light: np.ndarray, corners: np.ndarray, albedo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the light `[f, 3]` that faces send on the side of their normals and on the other."""
    half = len(light) // 2
    here, behind = light[:half].astype(np.float32), light[half:].astype(np.float32)
    sides = ((side[corners[:, 0]] + side[corners[:, 1]] + side[corners[:, 2]]) / 3 for side in (here, behind))
    first, second = (side * albedo.astype(np.float32) for side in sides)
    return first, second


def _is_dense(part: MeshPart) -> bool:
    """Whether corners are so near to each other that neighbours can share their light."""
    edges = np.linalg.norm(part.positions[:, 1] - part.positions[:, 0], axis=1)
    return bool(np.median(edges) < 1.5 * _CELL)


def _alike(positions: np.ndarray, normals: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first of every group of corners in one cell that face the same way, and the group of each corner."""
    cells = np.rint(positions / cell[:, None]).astype(np.int64) + 16384
    facing = np.rint(normals * 2.5).astype(np.int64) + 4
    keys = np.zeros(len(positions), np.int64)
    for values, base in ((cells, 32768), (facing, 16)):
        for axis in range(3):
            keys = keys * base + values[:, axis]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return first, group


class _Gathered:
    """What rays from every point meet, kept so that each bounce only looks up how bright it is."""

    def __init__(
        self,
        scene: RayScene,
        origins: np.ndarray,
        facing: np.ndarray,
        corners: np.ndarray,
        corner_normals: np.ndarray,
        rays: int,
        seed: int,
    ):
        random = np.random.default_rng(seed)
        turn, lift = (np.arange(rays) + 0.5) / rays, random.permutation((np.arange(rays) + 0.5) / rays)
        local = np.stack([np.sqrt(lift) * np.cos(2 * np.pi * turn), np.sqrt(lift) * np.sin(2 * np.pi * turn)], -1)
        local = np.concatenate([local, np.sqrt(1 - lift)[:, None]], axis=1)  # as many as the cosine
        helper = np.where(np.abs(facing[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
        side = np.cross(helper, facing)
        side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
        other = np.cross(facing, side)
        self._faces = np.empty((rays, len(origins)), np.int32)
        self._behind = np.empty((rays, len(origins)), bool)
        for number, (a, b, c) in enumerate(local):
            directions = a * side + b * other + c * facing
            faces = scene.hits(origins, directions)["primID"]
            self._faces[number] = faces
            self._behind[number] = np.sum(corner_normals[faces].mean(axis=1) * directions, axis=1) > 0

    def mean_of(self, here: np.ndarray, behind: np.ndarray) -> np.ndarray:
        """Returns the mean over the rays of what the faces they meet send, on either side."""
        total = np.zeros((self._faces.shape[1], 3), np.float32)
        for faces, turned in zip(self._faces, self._behind, strict=True):
            met = np.where(turned[:, None], behind[faces], here[faces])
            met[faces < 0] = 0.0
            total += met
        return total / len(self._faces)


def _direct(scene: RayScene, origins: np.ndarray, facing: np.ndarray, glows: list[Glow], sun: Sun | None) -> np.ndarray:
    total = np.zeros_like(origins)
    for glow in glows:
        for point, normal, power in zip(*glow, strict=True):
            way = point - origins
            squared = np.maximum(np.sum(way**2, axis=1), 0.02)
            way /= np.sqrt(squared)[:, None]
            strength = np.maximum(np.sum(way * facing, axis=1), 0.0) / (np.pi * squared)
            if normal.any():
                strength *= np.maximum(-way @ normal, 0.0)
            lit = np.nonzero(strength > 1e-5)[0]
            lit = lit[scene.free(origins[lit], np.broadcast_to(point, (len(lit), 3)))]
            total[lit] += strength[lit, None] * power
    if sun is not None:
        lit = np.nonzero(facing @ sun.direction > 0)[0]
        random = np.random.default_rng(0)
        for _ in range(4):  # of the disc, a little larger than the real one
            direction = sun.direction + random.normal(0, 0.01, 3)
            direction /= np.linalg.norm(direction)
            free = lit[np.isinf(scene.distances(origins[lit], np.broadcast_to(direction, (len(lit), 3))))]
            total[free] += (facing[free] @ direction).clip(0)[:, None] * sun.light / 4
    return total


def _albedo(part: MeshPart) -> np.ndarray:
    """Returns the linear reflectance `[f, 3]` at the middle of each face."""
    color = part.colors[..., :3].mean(axis=1)
    if part.linear:
        color = linear_to_srgb(np.clip(color, 0.0, 1.0))
    if part.texture is not None:
        color = color * nearest_texels(part.texture, part.uv.mean(axis=1), part.clamped)[:, :3] / 255
    return np.clip(color, 0.0, 0.95) ** GAMMA


def _cut(part: MeshPart) -> MeshPart:
    """Halves triangles at their longest edge until none is too long."""
    arrays: dict[str, Any] = {name: getattr(part, name) for name in ("positions", "normals", "uv", "colors")}
    for _ in range(12):
        edges = np.linalg.norm(arrays["positions"][:, [1, 2, 0]] - arrays["positions"], axis=2)
        long = edges.max(axis=1) > _LONGEST_EDGE
        if not long.any():
            break
        first = edges[long].argmax(axis=1)
        rows = np.arange(len(first))
        halves: dict[str, Any] = {}
        for name, array in arrays.items():
            a, b, c = (array[long][rows, (first + shift) % 3] for shift in range(3))
            middle = (a + b) / 2
            if name == "normals":
                middle /= np.maximum(np.linalg.norm(middle, axis=-1, keepdims=True), 1e-9)
            halves[name] = np.concatenate([array[~long], np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)])
        arrays = halves
    return part._replace(**arrays)
