"""What a room has besides furniture: floor, walls, ceiling, windows with a view, door, curtains, pictures, lamps."""

from typing import Any, NamedTuple

import numpy as np

from diffgs_jax.synthesis.meshes.loading import MeshPart
from diffgs_jax.synthesis.rooms.light import Glow, Sun
from diffgs_jax.synthesis.rooms.plan import Layout, Opening, Wall, walls
from diffgs_jax.synthesis.rooms.shapes import (
    Texture,
    box,
    carpet,
    flat_part,
    landscape,
    painting,
    planks,
    plaster,
    rug,
    sheet,
    stripes,
    tiles,
)

_WHITE = (0.93, 0.93, 0.91)
_RECESS = 0.14
"""How far windows lie behind the wall, metres."""
_UP = np.asarray([0.0, 0.0, 1.0])


class Shell(NamedTuple):
    """The parts that are lit, those that shine, and the light."""

    matt: list[MeshPart]
    shining: list[MeshPart]
    glows: list[Glow]
    sun: Sun | None


def build_shell(layout: Layout, random: np.random.Generator) -> Shell:
    """Returns a room around its furniture, in colours of its own."""
    shell = Shell([], [], [], _sun(layout, random))
    view = landscape(random)
    wall_texture, wall_tile = _wall_texture(layout, random)
    skirting = tuple(np.asarray(_WHITE) * random.uniform(0.85, 1.0))
    curtain = random.uniform(0.35, 0.9, 3)
    for number, wall in enumerate(walls(layout.size)):
        openings = [one for one in [layout.door, *layout.windows] if one.wall == number]
        holes = [(*one.along, *one.up) for one in openings if one is not layout.door]
        height = layout.size[2] * _UP
        options: dict[str, Any] = {"texture": wall_texture, "tile": wall_tile, "step": 0.15, "holes": holes}
        shell.matt.append(sheet(wall.corner, wall.length * wall.along, height, **options))
        _add_skirting(shell, wall, skirting, [one.along for one in openings if one.up[0] < 0.1])
        for one in openings:
            if one is layout.door:
                _add_door(shell, wall, one, random)
            else:
                _add_window(shell, wall, one, view, curtain if random.uniform() < 0.6 else None, layout.size[2])
    _add_floor_and_ceiling(shell, layout, random)
    _add_paintings(shell, layout, random)
    _add_lamps(shell, layout, random)
    return shell


def _sun(layout: Layout, random: np.random.Generator) -> Sun | None:
    if random.uniform() < 0.35:
        return None
    wall = walls(layout.size)[layout.windows[0].wall]
    slant = np.radians(random.uniform(-45, 45))
    height = np.radians(random.uniform(28, 50))
    out = -wall.inwards * np.cos(slant) + wall.along * np.sin(slant)
    direction = out * np.cos(height) + _UP * np.sin(height)
    return Sun(direction, np.asarray([1.0, 0.93, 0.82]) * random.uniform(2.0, 4.0))


def _wall_texture(layout: Layout, random: np.random.Generator) -> tuple[Texture, float]:
    tint = np.clip(random.uniform(0.80, 0.94) + random.normal(0, 0.03, 3) + [0.02, 0.01, -0.02], 0.6, 0.96)
    if random.uniform() < 0.25:  # a stronger colour
        tint = np.clip(tint * random.uniform(0.72, 1.0, 3), 0.5, 0.95)
    if layout.kind == "bathroom" and random.uniform() < 0.7:
        return tiles(random, tint), 0.8
    if layout.kind in ("bedroom", "living room") and random.uniform() < 0.25:
        return stripes(random, tint, tint * random.uniform(0.85, 0.95)), 0.8
    return plaster(random, tint), 2.0


def _add_floor_and_ceiling(shell: Shell, layout: Layout, random: np.random.Generator) -> None:
    x, y, z = layout.size
    wood = np.asarray([0.66, 0.47, 0.31]) * random.uniform(0.6, 1.25) + random.normal(0, 0.02, 3)
    stone = random.uniform(0.55, 0.85) + random.normal(0, 0.02, 3)
    choice = random.uniform()
    if layout.kind in ("bathroom", "kitchen") and choice < 0.75:
        texture, tile = tiles(random, stone), 1.2
    elif layout.kind in ("bedroom", "office") and choice < 0.35:
        texture, tile = carpet(random, stone * random.uniform(0.75, 1.05, 3)), 0.8
    else:
        texture, tile = planks(random, wood), 1.2
    corner = np.asarray([-x / 2, -y / 2, 0.0])
    along, across = np.asarray([x, 0.0, 0.0]), np.asarray([0.0, y, 0.0])
    shell.matt.append(sheet(corner, along, across, texture=texture, tile=tile, step=0.08))
    ceiling = plaster(random, np.full(3, 0.93))
    shell.matt.append(sheet(corner + z * _UP, across, along, texture=ceiling, tile=2.0, step=0.15))
    if layout.kind in ("bathroom", "kitchen") or random.uniform() < 0.25:
        return
    # A rug lies under the furniture, where most of the floor is free.
    size = np.asarray([random.uniform(1.4, 2.2), random.uniform(1.8, 2.8)]).clip(max=layout.size[:2] * 0.6)
    middle = random.normal(0, 0.15, 2)
    pattern = rug(random, random.uniform(0.2, 0.85, (3, 3)))
    start = np.append(middle - size / 2, 0.002)
    shell.matt.append(
        sheet(start, np.asarray([size[0], 0, 0]), np.asarray([0, size[1], 0]), texture=pattern, step=0.08)
    )


def _add_skirting(shell: Shell, wall: Wall, color: tuple, gaps: list[tuple[float, float]]) -> None:
    edges = [0.0, *sorted(value for gap in gaps for value in gap), wall.length]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start > 0.02:
            shell.matt.extend(_slab(wall, (start, end), (0.0, 0.08), 0.012, color, step=0.3))


def _add_door(shell: Shell, wall: Wall, door: Opening, random: np.random.Generator) -> None:
    wood = random.uniform() < 0.5
    leaf = tuple(np.asarray([0.60, 0.42, 0.27]) * random.uniform(0.7, 1.3)) if wood else _WHITE
    (start, end), (low, high) = door.along, door.up
    shell.matt.extend(_slab(wall, (start, end), (low, high), 0.02, leaf, step=0.2))
    for bottom, top in ((0.2, 0.95), (1.1, 1.9)):  # two panels
        shade = tuple(np.asarray(leaf) * 0.93)
        # A sheet, not a slab: what it covers of the leaf must stay lit, because light is spread over the leaf's cells.
        spot = wall.corner + (start + 0.13) * wall.along + bottom * _UP + 0.0215 * wall.inwards
        edges = (end - start - 0.26) * wall.along, (top - bottom) * _UP
        shell.matt.append(sheet(spot, *edges, color=shade, step=0.2))
    frame = tuple(np.asarray(leaf) * 0.97)
    for place in ((start - 0.06, start), (end, end + 0.06)):
        shell.matt.extend(_slab(wall, place, (low, high + 0.06), 0.035, frame))
    shell.matt.extend(_slab(wall, (start, end), (high, high + 0.06), 0.035, frame))
    handle = (0.75, 0.72, 0.66)
    shell.matt.extend(_slab(wall, (end - 0.14, end - 0.05), (1.02, 1.04), 0.07, handle))


def _add_window(
    shell: Shell, wall: Wall, window: Opening, view: Texture, curtain: np.ndarray | None, ceiling: float
) -> None:
    (start, end), (low, high) = window.along, window.up
    out = -wall.inwards * _RECESS
    corner = wall.corner + start * wall.along + low * _UP
    along, up = (end - start) * wall.along, (high - low) * _UP
    for place, edge, depth in ((corner, out, up), (corner + along, up, out), (corner, along, out)):
        shell.matt.append(sheet(place, edge, depth, color=_WHITE, step=0.1))
    shell.matt.append(sheet(corner + up, out, along, color=_WHITE, step=0.1))
    bars = [(start, start + 0.05), (end - 0.05, end), ((start + end) / 2 - 0.02, (start + end) / 2 + 0.02)]
    behind = wall._replace(corner=wall.corner + out)
    for bar in bars:
        shell.matt.extend(_slab(behind, bar, (low, high), 0.04, _WHITE, step=0.15))
    for bar in ((low, low + 0.05), (high - 0.05, high)):
        shell.matt.extend(_slab(behind, (start, end), bar, 0.04, _WHITE, step=0.15))
    if low > 0.5:
        shell.matt.extend(_slab(wall, (start - 0.05, end + 0.05), (low - 0.035, low), 0.07, _WHITE, step=0.15))
    _add_view(shell, wall, (start + end) / 2, view)
    # The sky outside shines in through the whole opening.
    count = np.maximum(2, np.rint([(end - start) / 0.35, (high - low) / 0.4])).astype(int)
    steps = [(np.arange(number) + 0.5) / number for number in count]
    a, b = (grid.ravel() for grid in np.meshgrid(*steps, indexing="ij"))
    points = corner + a[:, None] * along + b[:, None] * up - 0.03 * wall.inwards
    area = (end - start) * (high - low) / len(points)
    power = np.broadcast_to(np.asarray([0.92, 0.98, 1.06]) * 9.0 * area, points.shape)
    shell.glows.append(Glow(points, np.broadcast_to(wall.inwards, points.shape), power))
    if curtain is not None:
        _add_curtains(shell, wall, window, curtain, ceiling)


def _add_view(shell: Shell, wall: Wall, along: float, view: Texture) -> None:
    """Adds what is seen through a window: bright pictures some metres away, so that they shift as views do."""
    away, half, low, high = 7.0, 13.0, -5.2, 7.8
    near = wall.corner + along * wall.along - 0.3 * wall.inwards
    left, right = near - half * wall.along, near + half * wall.along
    out, tall, wide = -(away - 0.3) * wall.inwards, (high - low) * _UP, 2 * half * wall.along
    lawn, sky = (0.42, 0.56, 0.25), (0.55, 0.73, 0.95)
    images = [
        sheet(left + out + low * _UP, wide, tall, texture=view, step=30.0),
        sheet(left + low * _UP, out, tall, texture=view, step=30.0),
        sheet(right + low * _UP, out, tall, texture=view, step=30.0),
        sheet(left - 0.6 * _UP, wide, out, color=lawn, step=30.0),
        sheet(left + high * _UP, wide, out, color=sky, step=30.0),
    ]
    shell.shining.extend(image._replace(light=np.full((*image.positions.shape[:2], 2, 3), 1.9)) for image in images)


def _add_curtains(shell: Shell, wall: Wall, window: Opening, color: np.ndarray, ceiling: float) -> None:
    top, bottom = min(window.up[1] + 0.15, ceiling - 0.05), 0.05 if window.up[0] < 0.5 else window.up[0] - 0.25
    for start, end in (
        (window.along[0] - 0.28, window.along[0] + 0.06),
        (window.along[1] - 0.06, window.along[1] + 0.28),
    ):
        start, end = max(start, 0.02), min(end, wall.length - 0.02)
        along = np.linspace(start, end, 40)
        wave = 0.07 + 0.025 * np.sin((along - start) * 2 * np.pi / 0.085)
        heights = np.linspace(bottom, top, 16)
        grid = (
            wall.corner
            + along[:, None, None] * wall.along
            + wave[:, None, None] * wall.inwards
            + heights[None, :, None] * _UP
        )
        slope = np.gradient(wave, along)
        normal = wall.inwards - slope[:, None] * wall.along
        normal = np.repeat((normal / np.linalg.norm(normal, axis=1, keepdims=True))[:, None], len(heights), axis=1)
        cells = [(slice(None, -1), slice(None, -1)), (slice(1, None), slice(None, -1))]
        cells += [(slice(1, None), slice(1, None)), (slice(None, -1), slice(1, None))]
        corners = np.stack([grid[cell].reshape(-1, 3) for cell in cells], axis=1)
        normals = np.stack([normal[cell].reshape(-1, 3) for cell in cells], axis=1)
        faces = [0, 1, 2], [0, 2, 3]
        positions = np.concatenate([corners[:, face] for face in faces])
        shell.matt.append(
            flat_part(positions, np.concatenate([normals[:, face] for face in faces]), color=tuple(color))
        )


def _add_paintings(shell: Shell, layout: Layout, random: np.random.Generator) -> None:
    for number, wall in enumerate(walls(layout.size)):
        for _ in range(random.integers(0, 3)):
            width, height = random.uniform(0.35, 0.9), random.uniform(0.35, 0.7)
            start, low = random.uniform(0.1, wall.length - width - 0.1), random.uniform(1.3, 1.5)
            spot = wall.corner + start * wall.along + low * _UP
            far = spot + width * wall.along + height * _UP + 0.06 * wall.inwards
            ends = np.minimum(spot, far) - 0.08, np.maximum(spot, far) + 0.08
            blocked = any(((ends[0] < one.high) & (ends[1] > one.low)).all() for one in layout.placed)
            for one in [layout.door, *layout.windows]:
                near = start < one.along[1] + 0.4 and start + width > one.along[0] - 0.4
                blocked |= one.wall == number and near
            if blocked or low + height > layout.size[2] - 0.2:
                continue
            frame = tuple(np.full(3, random.choice([0.12, 0.85])) * [1.0, 0.95, 0.9])
            shell.matt.extend(_slab(wall, (start, start + width), (low, low + height), 0.02, frame, step=0.2))
            inner = spot + 0.03 * (wall.along + _UP) + 0.022 * wall.inwards
            edges = (width - 0.06) * wall.along, (height - 0.06) * _UP
            shell.matt.append(sheet(inner, *edges, texture=painting(random), step=0.2))
            break


def _add_lamps(shell: Shell, layout: Layout, random: np.random.Generator) -> None:
    """Adds a ceiling lamp, and light to the lamps among the furniture."""
    warm = np.asarray([1.0, 0.88, 0.72])
    hung = [one for one in layout.placed if one.role == "hanging"]
    if hung:
        places = [((one.low + one.high) / 2 * [1, 1, 0] + [0, 0, one.low[2] - 0.06], 0.0) for one in hung]
    else:
        places = [(np.asarray([0.0, 0.0, layout.size[2] - 0.09]), random.uniform(0.14, 0.24))]
    for place, radius in places:
        if radius:
            disc = _disc(place, radius)
            shell.shining.append(disc._replace(light=np.full((*disc.positions.shape[:2], 2, 3), 2.5) * warm))
        _add_glow(shell, place - 0.02 * _UP, max(radius, 0.1), warm * random.uniform(1.5, 5.0))
    for one in layout.placed:
        if one.role == "lamp":
            middle = (one.low + one.high) / 2
            _add_glow(shell, np.append(middle[:2], one.high[2] + 0.05), 0.1, warm * random.uniform(0.8, 2.0))


def _add_glow(shell: Shell, place: np.ndarray, radius: float, power: np.ndarray) -> None:
    turn = np.arange(6) * np.pi / 3
    points = place + radius * np.stack([np.cos(turn), np.sin(turn), np.zeros(6)], axis=1)
    shell.glows.append(Glow(points, np.zeros_like(points), np.broadcast_to(power / 6, points.shape)))


def _disc(place: np.ndarray, radius: float) -> MeshPart:
    """Returns a flat dome, open above, that hangs at a place."""
    turn = np.linspace(0, 2 * np.pi, 25)
    rings = [(radius, 0.08), (radius, 0.02), (radius * 0.75, 0.0), (0.0, -0.01)]
    points = [place + np.stack([r * np.cos(turn), r * np.sin(turn), np.full(25, z)], axis=1) for r, z in rings]
    faces = []
    for outer, inner in zip(points, points[1:], strict=False):
        faces += [np.stack([outer[:-1], inner[:-1], inner[1:]], 1), np.stack([outer[:-1], inner[1:], outer[1:]], 1)]
    positions = np.concatenate(faces)
    area = np.linalg.norm(np.cross(positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0]), axis=1)
    return flat_part(positions[area > 1e-9], -_UP, color=(1.0, 0.97, 0.92))


def _slab(
    wall: Wall,
    along: tuple[float, float],
    up: tuple[float, float],
    thickness: float,
    color: tuple,
    step: float = 0.3,
) -> list[MeshPart]:
    """Returns a box that lies flat on a wall."""
    first = wall.corner + along[0] * wall.along + up[0] * _UP
    second = wall.corner + along[1] * wall.along + up[1] * _UP + thickness * wall.inwards
    return box(np.minimum(first, second), np.maximum(first, second), color=color, step=step)
