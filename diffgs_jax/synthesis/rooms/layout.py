"""Where walls, windows, doors and furniture of a room are; metres, the floor's middle at the origin, z up.

Furniture stands on the floor, hangs where its catalogue says, or stands on other furniture; bounding boxes never meet.
"""

import numpy as np

from diffgs_jax.synthesis.meshes.loading import MeshPart
from diffgs_jax.synthesis.rooms.furniture import Furniture, Role, furniture_parts
from diffgs_jax.synthesis.rooms.light import RayScene
from diffgs_jax.synthesis.rooms.plan import Kind, Layout, Opening, Placed, bounds, built, openings, walls
from diffgs_jax.synthesis.rooms.shapes import moved

_GAP = 0.02
# Role, least and most of it, and where: at a wall, in the middle, around the table, beside the bed, in a row at a wall.
_RECIPES: dict[Kind, list[tuple[Role, int, int, str]]] = {
    "living room": [
        ("sofa", 1, 2, "wall"), ("table", 1, 1, "middle"), ("chair", 2, 4, "around"), ("armchair", 0, 2, "wall"),
        ("shelves", 0, 2, "wall"), ("screen", 0, 1, "wall"), ("instrument", 0, 2, "wall"), ("plant", 1, 2, "wall"),
        ("lamp", 0, 1, "wall"), ("thing", 0, 1, "wall"),
    ],
    "bedroom": [
        ("bed", 1, 1, "wall"), ("bedside", 0, 2, "beside"), ("wardrobe", 1, 2, "wall"), ("desk", 0, 1, "wall"),
        ("chair", 1, 2, "wall"), ("shelves", 0, 1, "wall"), ("plant", 0, 1, "wall"), ("instrument", 0, 1, "wall"),
        ("lamp", 0, 1, "wall"), ("thing", 0, 2, "wall"),
    ],
    "kitchen": [
        ("fridge", 1, 1, "row"), ("cabinet", 3, 5, "row"), ("table", 1, 1, "middle"), ("chair", 2, 4, "around"),
        ("shelves", 0, 1, "wall"), ("plant", 0, 1, "wall"), ("thing", 0, 1, "wall"),
    ],
    "office": [
        ("desk", 1, 2, "wall"), ("shelves", 1, 2, "wall"), ("table", 0, 1, "middle"), ("chair", 2, 4, "around"),
        ("armchair", 0, 1, "wall"), ("screen", 0, 1, "wall"), ("wardrobe", 0, 1, "wall"), ("plant", 1, 2, "wall"),
        ("lamp", 0, 1, "wall"),
    ],
    "bathroom": [
        ("shower", 1, 1, "wall"), ("basin", 1, 1, "wall"), ("toilet", 1, 2, "wall"), ("shelves", 0, 1, "wall"),
        ("wardrobe", 0, 1, "wall"), ("plant", 0, 1, "wall"), ("chair", 0, 1, "wall"), ("thing", 0, 1, "wall"),
    ],
}  # fmt: skip
_SIZES: dict[Kind, tuple[tuple[float, float], tuple[float, float]]] = {
    "living room": ((4.4, 6.4), (4.0, 5.4)),
    "bedroom": ((3.8, 5.0), (3.6, 4.8)),
    "kitchen": ((3.8, 5.2), (3.6, 4.6)),
    "office": ((3.8, 5.4), (3.6, 4.8)),
    "bathroom": ((3.0, 3.8), (2.8, 3.6)),
}
_TOPS = {"table", "desk", "cabinet", "bedside", "shelves", "wardrobe", "thing"}


def lay_out(kind: Kind, furniture: list[Furniture], random: np.random.Generator) -> Layout:
    """Returns a room of a kind, furnished with some of the furniture."""
    ranges = _SIZES[kind]
    size = np.asarray([random.uniform(*ranges[0]), random.uniform(*ranges[1]), random.uniform(2.45, 2.8)])
    door, windows = openings(size, random)
    room = _Room(Layout(kind, size, windows, door, []), random)
    by_role: dict[str, list[Furniture]] = {}
    for piece in furniture:
        by_role.setdefault(piece.role, []).append(piece)
    for role, least, most, where in _RECIPES[kind]:
        room.add_some(role, int(random.integers(least, most + 1)), where, by_role.get(role, []))
    for piece in _some(by_role.get("hanging", []), int(random.uniform() < 0.6), random):
        room.hang(piece)
    if kind == "kitchen":
        for piece in _some(by_role.get("upper cabinet", []), 3, random):
            room.add_above_row(piece)
    small = by_role.get("small thing", [])
    for piece in _some(small, int(random.integers(4, 9)), random):
        room.put_on_top(piece)
    return room.layout


class _Room:
    """A layout while it is filled."""

    def __init__(self, layout: Layout, random: np.random.Generator):
        self.layout, self._random = layout, random
        self._walls = walls(layout.size)
        self._row: tuple[int, float] | None = None

    def add_some(self, role: Role, count: int, where: str, pieces: list[Furniture]) -> None:
        """Adds pieces of a role, all of one model where they belong together; built ones where there is no model."""
        if not count:
            return
        together = where in ("around", "beside")
        chosen = [pieces[self._random.integers(len(pieces))]] * count if pieces and together else []
        chosen = chosen or _some(pieces, count, self._random)
        for number in range(count):
            if number < len(chosen):
                made = _model(chosen[number]), chosen[number]
            elif role in ("table", "shelves", "desk", "bedside") and number == 0:
                made = built(role, self._random), None
            else:
                continue
            match where:
                case "wall":
                    self._at_wall(role, *made)
                case "middle":
                    self._in_middle(role, *made)
                case "around":
                    self._around(role, *made)
                case "beside":
                    self._beside(role, *made)
                case "row":
                    self._in_row(role, *made)

    def hang(self, piece: Furniture) -> None:
        """Hangs a lamp or a fan from the ceiling's middle."""
        parts = _model(piece)
        self._try("hanging", parts, piece, 0.0, 0.0, 0.0, self.layout.size[2] - piece.size[2] - 0.005)

    def add_above_row(self, piece: Furniture) -> None:
        """Hangs a cabinet over a lower one."""
        lower = [one for one in self.layout.placed if one.role == "cabinet"]
        self._random.shuffle(lower)
        parts = _model(piece)
        for one in lower:
            wall = self._walls[self._row[0]] if self._row else self._walls[0]
            middle = (one.low + one.high) / 2
            spot = wall.corner + ((middle - wall.corner) @ wall.along) * wall.along
            spot = spot + wall.inwards * (piece.size[0] / 2 + 0.01)
            if self._try(
                "upper cabinet", parts, piece, spot[0], spot[1], _yaw(wall.inwards), max(1.4, piece.elevation)
            ):
                return

    def put_on_top(self, piece: Furniture) -> None:
        """Stands something small on a table, a cabinet, or on the floor at a wall."""
        hosts = [one for one in self.layout.placed if one.role in _TOPS and one.high[2] < 1.35]
        parts = _model(piece)
        reach = np.hypot(piece.size[0], piece.size[1]) / 2
        for _ in range(6):
            if not hosts:
                break
            host = hosts[self._random.integers(len(hosts))]
            room = (host.high - host.low)[:2] - 2 * reach
            if room.min() < 0:
                continue
            x, y = host.low[:2] + reach + self._random.uniform(0, 1, 2) * room
            probes = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2) * reach * 0.8
            origins = np.concatenate([probes + [x, y], np.full((9, 1), host.high[2] + 0.1)], axis=1)
            down = np.broadcast_to([0.0, 0.0, -1.0], origins.shape)
            heights = origins[:, 2] - RayScene(host.parts).distances(origins, down)
            if np.isfinite(heights).all() and np.ptp(heights) < 0.004 and heights[0] > 0.3:
                if self._try("small thing", parts, piece, x, y, self._random.uniform(0, 6.28), heights.max() + 0.001):
                    return
        if max(piece.size) > 0.3 and min(piece.size) > 0.12:
            self._at_wall("small thing", parts, piece)

    def _at_wall(self, role: str, parts: list[MeshPart], model: Furniture | None) -> bool:
        low, high = bounds(parts)
        for _ in range(40):
            wall = self._walls[self._random.integers(4)]
            width, depth = high[1] - low[1], high[0] - low[0]
            if width > wall.length - 0.1:
                continue
            along = self._random.uniform(width / 2 + 0.03, wall.length - width / 2 - 0.03)
            if self._random.uniform() < 0.3:  # into the corner
                along = width / 2 + 0.03 if along < wall.length / 2 else wall.length - width / 2 - 0.03
            spot = wall.corner + along * wall.along + wall.inwards * (depth / 2 + 0.04)
            if self._try(role, parts, model, spot[0], spot[1], _yaw(wall.inwards)):
                return True
        return False

    def _in_middle(self, role: str, parts: list[MeshPart], model: Furniture | None) -> bool:
        yaw = self._random.integers(2) * np.pi / 2
        for _ in range(40):
            x, y = self._random.normal(0, 0.12, 2) * self.layout.size[:2]
            if self._try(role, parts, model, x, y, yaw, margin=0.5):
                return True
        return self._at_wall(role, parts, model)

    def _around(self, role: str, parts: list[MeshPart], model: Furniture | None) -> bool:
        low, high = bounds(parts)
        hosts = [one for one in self.layout.placed if one.role in ("table", "desk") and one.high[2] > 0.55]
        for _ in range(24):
            if not hosts:
                break
            host = hosts[self._random.integers(len(hosts))]
            side = np.asarray([(1, 0), (-1, 0), (0, 1), (0, -1)])[self._random.integers(4)]
            middle, half = (host.low + host.high)[:2] / 2, (host.high - host.low)[:2] / 2
            across = side[::-1] * self._random.uniform(-0.6, 0.6) * half
            spot = middle + side * (half + (high[0] - low[0]) / 2 + 0.05) + across
            yaw = np.arctan2(-side[1], -side[0]) + self._random.normal(0, 0.1)
            if self._try(role, parts, model, spot[0], spot[1], yaw):
                return True
        return self._at_wall(role, parts, model)

    def _beside(self, role: str, parts: list[MeshPart], model: Furniture | None) -> bool:
        low, high = bounds(parts)
        for bed in (one for one in self.layout.placed if one.role == "bed"):
            for wall in self._walls:
                reach = (bed.low if wall.inwards.sum() > 0 else bed.high)[:2]
                if abs((reach - wall.corner[:2]) @ wall.inwards[:2]) > 0.1:
                    continue
                middle, half = (bed.low + bed.high) / 2, (bed.high - bed.low) / 2
                for side in (1, -1):
                    way = abs(half @ wall.along) + (high[1] - low[1]) / 2 + 0.06
                    spot = middle + side * way * wall.along
                    spot -= ((spot - wall.corner) @ wall.inwards - (high[0] - low[0]) / 2 - 0.04) * wall.inwards
                    if self._try(role, parts, model, spot[0], spot[1], _yaw(wall.inwards)):
                        return True
        return False

    def _in_row(self, role: str, parts: list[MeshPart], model: Furniture | None) -> bool:
        low, high = bounds(parts)
        width, depth = high[1] - low[1], high[0] - low[0]
        if self._row is None:
            order = sorted(range(4), key=lambda number: -self._walls[number].length)
            free = [number for number in order if number != self.layout.door.wall]
            self._row = free[0], 0.05
        number, start = self._row
        wall = self._walls[number]
        while start + width < wall.length:
            spot = wall.corner + (start + width / 2) * wall.along + wall.inwards * (depth / 2 + 0.02)
            if self._try(role, parts, model, spot[0], spot[1], _yaw(wall.inwards), behind_windows=role == "cabinet"):
                self._row = number, start + width + 0.004
                return True
            start += 0.1
        return False

    def _try(
        self,
        role: str,
        parts: list[MeshPart],
        model: Furniture | None,
        x: float,
        y: float,
        yaw: float,
        z: float = 0.0,
        margin: float = 0.0,
        behind_windows: bool = False,
    ) -> bool:
        """Puts it there unless something is in the way."""
        turned = [moved(part, yaw, np.asarray([x, y, z])) for part in parts]
        low, high = bounds(turned)
        half = self.layout.size[:2] / 2
        if (low[:2] < -half + 0.005 + margin).any() or (high[:2] > half - 0.005 - margin).any():
            return False
        if high[2] > self.layout.size[2] - 0.002:
            return False
        taken = [(one.low, one.high) for one in self.layout.placed]
        taken += [self._kept_free(self.layout.door, 0.9)]
        for window in self.layout.windows:
            if not behind_windows or high[2] > window.up[0] + 0.3:
                taken.append(self._kept_free(window, 0.25))
        grow = 0.0005 if role in ("cabinet", "fridge", "upper cabinet", "small thing") else _GAP
        if any(((low < b + grow) & (high > a - grow)).all() for a, b in taken):
            return False
        name = model.name if model else role
        self.layout.placed.append(Placed(name, role, turned, low, high, model))
        return True

    def _kept_free(self, opening: Opening, depth: float) -> tuple[np.ndarray, np.ndarray]:
        wall = self._walls[opening.wall]
        ends = [
            wall.corner + along * wall.along + inwards * wall.inwards + np.asarray([0, 0, up])
            for along, up, inwards in zip(opening.along, opening.up, (-0.05, depth), strict=True)
        ]
        return np.minimum(*ends), np.maximum(*ends)


def _model(piece: Furniture) -> list[MeshPart]:
    return list(furniture_parts(piece.path, piece.rotation, piece.scale))


def _some(pieces: list[Furniture], count: int, random: np.random.Generator) -> list[Furniture]:
    """Returns different pieces, or as many as there are."""
    return [pieces[index] for index in random.permutation(len(pieces))[:count]]


def _yaw(direction: np.ndarray) -> float:
    return float(np.arctan2(direction[1], direction[0]))
