"""A camera's walk through a room, as in the videos that sell houses: at eye height, forwards, turning slowly."""

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras, intrinsics_from_fov, look_at
from diffgs_jax.synthesis.rooms.light import RayScene
from diffgs_jax.synthesis.rooms.plan import Layout

_CELL = 0.05
_CLEARANCE = 0.28
"""Least distance to walls and furniture, metres."""
_CANDIDATES = 40
_NEAR = 0.8
"""What is nearer than this fills the picture without telling what it is, metres."""
_LEAST_SHOWN = 0.04
"""Every frame shows this much of furniture and windows, of its area; a bare wall tells nothing."""


def walk(layout: Layout, scene: RayScene, kinds: np.ndarray, frames: int, random: np.random.Generator) -> Cameras:
    """Returns the `[frames]` cameras of the best of some random walks.

    Args:
        layout: the room.
        scene: all that can be seen in it.
        kinds: of each face of the scene: 0 for the room itself, 1 for furniture, 2 for what shines.
        frames: how many, evenly along the way but for a slow start and end.
        random: draws the walks.

    Raises:
        DataError: if there is no room to walk in.
    """
    height, fov = random.uniform(1.35, 1.6), random.uniform(60.0, 70.0)
    ways = _Ways(layout, height)
    intrinsics = np.tile(intrinsics_from_fov(float(fov)), (frames, 1))
    best, best_score = None, -np.inf
    for _ in range(_CANDIDATES):
        line = ways.draw(random)
        if line is None:
            continue
        cameras = Cameras(_poses(line, height, frames, random), intrinsics)
        score = _score(cameras, scene, kinds, line)
        if score > best_score:
            best, best_score = cameras, score
    if best is None:
        raise DataError("no walk through the room shows enough of it")
    return best


class _Ways:
    """Shortest ways over the free floor, which keep away from what stands on it."""

    def __init__(self, layout: Layout, height: float):
        count = np.floor(layout.size[:2] / _CELL).astype(int)
        self._origin = -layout.size[:2] / 2
        taken = np.zeros(count, bool)
        taken[[0, -1]] = taken[:, [0, -1]] = True
        for one in layout.placed:
            if one.low[2] < height + 0.2 and one.high[2] > 0.05:
                low = np.floor((one.low[:2] - self._origin) / _CELL).astype(int).clip(0)
                high = np.ceil((one.high[:2] - self._origin) / _CELL).astype(int)
                taken[low[0] : high[0], low[1] : high[1]] = True
        distance = distance_transform_edt(~taken) * _CELL
        self.distance, free = distance, distance > _CLEARANCE
        self._cells = np.argwhere(free)
        number = np.full(count, -1)
        number[free] = np.arange(len(self._cells))
        rows, columns, costs = [], [], []
        for step in ((1, 0), (0, 1), (1, 1), (1, -1)):
            there = self._cells + step
            inside = ((there >= 0) & (there < count)).all(axis=1)
            there[~inside] = 0
            other = np.where(inside, number[there[:, 0], there[:, 1]], -1)
            linked = np.nonzero(other >= 0)[0]
            rows.append(linked)
            columns.append(other[linked])
            costs.append(np.linalg.norm(step) / np.minimum(distance[tuple(self._cells[linked].T)], 0.7))
        entries = np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns))
        self._graph = coo_matrix(entries, shape=(len(self._cells),) * 2).tocsr()

    def draw(self, random: np.random.Generator) -> np.ndarray | None:
        """Returns a smooth line `[k, 2]` of 1.2 to 4 m, or None."""
        if len(self._cells) < 10:
            return None
        start = int(random.integers(len(self._cells)))
        cost, before = dijkstra(self._graph, directed=False, indices=start, return_predecessors=True)
        reachable = np.nonzero(np.isfinite(cost))[0]
        goal = int(random.choice(reachable))
        cells = [goal]
        while cells[-1] != start:
            cells.append(int(before[cells[-1]]))
        line = (self._cells[cells[::-1]] + 0.5) * _CELL + self._origin
        line = gaussian_filter1d(line, 6.0, axis=0, mode="nearest") if len(line) > 4 else line
        length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
        places = ((line - self._origin) / _CELL).astype(int)
        if length < 1.2 or self.distance[tuple(places.T)].min() < 0.8 * _CLEARANCE:
            return None
        keep = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))) < 4.0
        return line[keep]


def _poses(line: np.ndarray, height: float, frames: int, random: np.random.Generator) -> np.ndarray:
    way = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    time = np.linspace(0, 1, frames)
    eased = 0.8 * time + 0.2 * (3 * time**2 - 2 * time**3)
    position = np.stack([np.interp(eased * way[-1], way, line[:, axis]) for axis in range(2)], axis=1)
    tangent = np.gradient(gaussian_filter1d(line, 8.0, axis=0, mode="nearest"), axis=0)
    heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    heading = np.interp(eased * way[-1], way, gaussian_filter1d(heading, 10.0, mode="nearest"))
    offset, drift = np.radians(random.uniform(-35, 35)), np.radians(random.uniform(-40, 40))
    heading = heading + offset + drift * (eased - 0.5)
    pitch = np.radians(random.uniform(-12, -3))
    sway = height + 0.015 * np.sin(2 * np.pi * time * random.uniform(1, 3))
    eye = np.concatenate([position, sway[:, None]], axis=1)
    flat = np.cos(pitch)
    forward = np.stack([flat * np.cos(heading), flat * np.sin(heading), np.full(frames, np.sin(pitch))], axis=1)
    return look_at(eye, eye + forward)


def _score(cameras: Cameras, scene: RayScene, kinds: np.ndarray, line: np.ndarray) -> float:
    """Prefers long walks that look into the room, at furniture rather than out of windows, from not too near."""
    place = (np.arange(12) + 0.5) / 12
    fx, fy, cx, cy = cameras.intrinsics[0]
    x, y = (grid.ravel() for grid in np.meshgrid((place - cx) / fx, (place - cy) / fy))
    local = np.stack([x, y, np.ones_like(x)], axis=1)
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    total, shown = [], []
    for pose in cameras.camera_to_world[:: max(1, len(cameras.camera_to_world) // 6)]:
        origins = np.broadcast_to(pose[:3, 3], local.shape)
        hits = scene.hits(origins, local @ pose[:3, :3].T)
        depth = np.where(hits["primID"] >= 0, hits["tfar"], 8.0)
        kind = kinds[hits["primID"]]
        furniture, outside = float((kind == 1).mean()), float((kind == 2).mean())
        shown.append((furniture, outside))
        worth = 6.0 * min(furniture, 0.4) - 6.0 * max(outside - 0.12, 0.0) - 6.0 * (depth < _NEAR).mean()
        total.append(0.7 * min(np.median(depth), 3.0) + worth)
    if min(map(sum, shown)) < _LEAST_SHOWN or np.mean([furniture for furniture, _ in shown]) < 2 * _LEAST_SHOWN:
        return -np.inf
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    return float(np.mean(total) + 1.2 * np.min(total) + 0.3 * length)
