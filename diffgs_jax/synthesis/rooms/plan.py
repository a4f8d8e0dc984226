"""What a room consists of: walls, a door, windows, and what stands in it; metres, the floor's middle at the origin."""

from typing import Literal, NamedTuple

import numpy as np

from diffgs_jax.synthesis.meshes.loading import MeshPart
from diffgs_jax.synthesis.rooms.furniture import Furniture
from diffgs_jax.synthesis.rooms.shapes import box

Kind = Literal["living room", "bedroom", "kitchen", "office", "bathroom"]
KINDS: tuple[Kind, ...] = ("living room", "living room", "bedroom", "bedroom", "kitchen", "office", "bathroom")
"""What rooms are drawn from; the more often, the likelier."""
_DOOR_WIDTH, _DOOR_HEIGHT = 0.85, 2.05


class Opening(NamedTuple):
    """A window or a door: the wall's number, and (from, to) along and up it, metres."""

    wall: int
    along: tuple[float, float]
    up: tuple[float, float]


class Placed(NamedTuple):
    """A thing in its place: its name, its triangles in the room, its bounding box, and the model, if it is one."""

    name: str
    role: str
    parts: list[MeshPart]
    low: np.ndarray
    high: np.ndarray
    model: Furniture | None


class Layout(NamedTuple):
    """A furnished room: its kind, (x, y, z) size, openings, and what is in it."""

    kind: Kind
    size: np.ndarray
    windows: list[Opening]
    door: Opening
    placed: list[Placed]


class Wall(NamedTuple):
    """A wall seen from inside: its left lower corner, directions along it and into the room, and its length."""

    corner: np.ndarray
    along: np.ndarray
    inwards: np.ndarray
    length: float


def walls(size: np.ndarray) -> list[Wall]:
    """Returns the four walls of a room; `along` × up points into it."""
    x, y = size[0] / 2, size[1] / 2
    return [
        Wall(np.asarray([-x, -y, 0.0]), np.asarray([0.0, 1.0, 0.0]), np.asarray([1.0, 0.0, 0.0]), float(size[1])),
        Wall(np.asarray([x, y, 0.0]), np.asarray([0.0, -1.0, 0.0]), np.asarray([-1.0, 0.0, 0.0]), float(size[1])),
        Wall(np.asarray([x, -y, 0.0]), np.asarray([-1.0, 0.0, 0.0]), np.asarray([0.0, 1.0, 0.0]), float(size[0])),
        Wall(np.asarray([-x, y, 0.0]), np.asarray([1.0, 0.0, 0.0]), np.asarray([0.0, -1.0, 0.0]), float(size[0])),
    ]


def openings(size: np.ndarray, random: np.random.Generator) -> tuple[Opening, list[Opening]]:
    """Returns a door and one or two windows, each in a wall of its own."""
    order = random.permutation(4)
    lengths = [wall.length for wall in walls(size)]
    start = random.uniform(0.15, lengths[order[0]] - _DOOR_WIDTH - 0.15)
    door = Opening(int(order[0]), (start, start + _DOOR_WIDTH), (0.0, _DOOR_HEIGHT))
    windows = []
    for number in order[1 : 2 + random.integers(1, 3)]:
        width = random.uniform(0.9, min(2.2, 0.6 * lengths[number]))
        start = random.uniform(0.3, lengths[number] - width - 0.3)
        low = 0.12 if random.uniform() < 0.15 else random.uniform(0.85, 1.0)
        windows.append(Opening(int(number), (start, start + width), (low, random.uniform(2.0, 2.2))))
    return door, windows


def built(role: str, random: np.random.Generator) -> list[MeshPart]:
    """Returns a plain table or shelf of boards, for where no model is at hand."""
    color = tuple(np.asarray([0.62, 0.45, 0.30]) * random.uniform(0.55, 1.35) ** np.ones(3))
    if role in ("table", "desk", "bedside"):
        x, y, z = {"table": (0.8, 1.4, 0.74), "desk": (0.65, 1.3, 0.74), "bedside": (0.4, 0.45, 0.5)}[role]
        x, y = np.asarray([x, y]) * random.uniform(0.85, 1.15, 2) / 2
        parts = box(np.asarray([-x, -y, z - 0.035]), np.asarray([x, y, z]), color=color, step=0.1)
        for a in (-1, 1):
            for b in (-1, 1):
                foot = np.asarray([a * (x - 0.05), b * (y - 0.05), 0.0])
                parts += box(foot - [0.025, 0.025, 0.0], foot + [0.025, 0.025, z - 0.035], color=color)
        return parts
    x, y, z = 0.3, random.uniform(0.7, 1.1), random.uniform(0.8, 1.9)
    parts = box(np.asarray([-x / 2, -y / 2, 0]), np.asarray([-x / 2 + 0.012, y / 2, z]), color=color, step=0.12)
    for side in (-y / 2, y / 2 - 0.02):
        parts += box(np.asarray([-x / 2, side, 0]), np.asarray([x / 2, side + 0.02, z]), color=color, step=0.12)
    for height in np.linspace(0.05, z - 0.02, int(z / 0.35) + 1):
        parts += box(
            np.asarray([-x / 2, -y / 2, height]), np.asarray([x / 2, y / 2, height + 0.02]), color=color, step=0.12
        )
    return parts


def bounds(parts: list[MeshPart]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the least and the largest coordinates."""
    points = np.concatenate([part.positions.reshape(-1, 3) for part in parts])
    return points.min(axis=0), points.max(axis=0)
