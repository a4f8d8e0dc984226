"""The flat and boxy things a room is made of, as triangles, and the patterns on them; metres, z up."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter

from diffgs_jax.synthesis.meshes.loading import MeshPart

Texture = UInt8[np.ndarray, "h w 4"]


def sheet(
    corner: Float[np.ndarray, "3"],
    along: Float[np.ndarray, "3"],
    up: Float[np.ndarray, "3"],
    *,
    color: tuple[float, float, float] = (1.0, 1.0, 1.0),
    texture: Texture | None = None,
    tile: float | None = None,
    step: float = 0.15,
    holes: list[tuple[float, float, float, float]] | None = None,
) -> MeshPart:
    """Returns a rectangle cut into cells, with holes; its normal is along × up.

    Args:
        corner: one corner.
        along: edge from there.
        up: the other edge from there.
        color: display RGB.
        texture: repeated every `tile` metres, or stretched over the rectangle once.
        tile: metres.
        step: largest side of a cell, metres: how finely light can vary on it.
        holes: (along from, along to, up from, up to) in metres.
    """
    lengths = float(np.linalg.norm(along)), float(np.linalg.norm(up))
    cuts = [
        _cuts(length, step, [hole[2 * axis : 2 * axis + 2] for hole in holes or []])
        for axis, length in enumerate(lengths)
    ]
    left, bottom = (array.ravel() for array in np.meshgrid(cuts[0][:-1], cuts[1][:-1], indexing="ij"))
    right, top = (array.ravel() for array in np.meshgrid(cuts[0][1:], cuts[1][1:], indexing="ij"))
    keep = np.ones(len(left), bool)
    for a, b, c, d in holes or []:
        keep &= ~((left > a - 1e-6) & (right < b + 1e-6) & (bottom > c - 1e-6) & (top < d + 1e-6))
    left, right, bottom, top = left[keep], right[keep], bottom[keep], top[keep]
    place = np.stack([[left, bottom], [right, bottom], [right, top], [left, top]]).transpose(2, 0, 1)  # [c, 4, 2]
    place = np.concatenate([place[:, [0, 1, 2]], place[:, [0, 2, 3]]])
    units = np.stack([along / lengths[0], up / lengths[1]])
    positions = corner + place @ units
    normal = np.cross(*units)
    uv = place / (tile if tile else np.asarray(lengths))
    return flat_part(positions, normal, uv, color, texture)


def flat_part(
    positions: Float[np.ndarray, "f 3 3"],
    normals: Float[np.ndarray, "*shape"],
    uv: Float[np.ndarray, "f 3 2"] | None = None,
    color: tuple[float, ...] = (1.0, 1.0, 1.0),
    texture: Texture | None = None,
) -> MeshPart:
    """Returns triangles of one colour; `normals` are broadcast to them."""
    return MeshPart(
        positions=np.asarray(positions, np.float64),
        normals=np.broadcast_to(normals, positions.shape).astype(np.float64),
        uv=np.zeros((*positions.shape[:2], 2)) if uv is None else uv,
        colors=np.broadcast_to([*color, 1.0], (*positions.shape[:2], 4)).copy(),
        texture=texture,
        blended=False,
    )


def box(
    low: Float[np.ndarray, "3"],
    high: Float[np.ndarray, "3"],
    *,
    color: tuple[float, float, float],
    texture: Texture | None = None,
    tile: float | None = None,
    step: float = 0.3,
) -> list[MeshPart]:
    """Returns the six sides of a box, normals outwards."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    size = high - low
    x, y, z = np.diag(size)
    options: dict[str, Any] = {"color": color, "texture": texture, "tile": tile, "step": step}
    return [
        sheet(low, y, x, **options),
        sheet(low + z, x, y, **options),
        sheet(low, x, z, **options),
        sheet(low + y, z, x, **options),
        sheet(low, z, y, **options),
        sheet(low + x, y, z, **options),
    ]


def moved(part: MeshPart, yaw: float, offset: Float[np.ndarray, "3"]) -> MeshPart:
    """Returns a part turned about z by `yaw` (radians), then moved."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    turn = np.asarray([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return part._replace(positions=part.positions @ turn.T + offset, normals=part.normals @ turn.T)


def merged(parts: list[MeshPart]) -> list[MeshPart]:
    """Returns the same triangles in as few parts as textures allow."""
    groups: dict[tuple, list[MeshPart]] = {}
    for part in parts:
        alike = id(part.texture), part.clamped, part.linear, part.blended, part.light is not None
        groups.setdefault(alike, []).append(part)
    whole = []
    for group in groups.values():
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in group])
            for name in ("positions", "normals", "uv", "colors")
        }
        lights = [part.light for part in group if part.light is not None]
        whole.append(group[0]._replace(**arrays, light=np.concatenate(lights) if lights else None))
    return whole


def planks(random: np.random.Generator, color: Float[np.ndarray, "3"], size: int = 256) -> Texture:
    """Returns wooden boards that run along u, each with its own shade and grain."""
    rows = 8
    image = np.zeros((size, size, 3))
    across = np.linspace(0, 1, size)
    for row in range(rows):
        lines = slice(row * size // rows, (row + 1) * size // rows)
        height = lines.stop - lines.start
        joint = random.uniform()
        shade = np.where((across - joint) % 1 < 0.5, *random.uniform(0.86, 1.08, 2))
        grain = _smooth(random.normal(size=(height, size)), (1, 24)) * 0.35
        board = (shade + grain)[..., None] * color
        board[[0, -1]] *= 0.72
        board[:, (np.abs((across - joint) % 0.5) < 1.2 / size)] *= 0.75
        image[lines] = board
    return as_texture(image)


def tiles(random: np.random.Generator, color: Float[np.ndarray, "3"], count: int = 4, size: int = 256) -> Texture:
    """Returns square tiles with joints."""
    place = np.arange(size) * count / size % 1
    joint = (place < 0.03)[:, None] | (place < 0.03)[None, :]
    shade = np.kron(random.uniform(0.93, 1.05, (count, count)), np.ones((size // count, size // count)))
    shade += _smooth(random.normal(size=(size, size)), (6, 6)) * 0.2
    return as_texture(np.where(joint[..., None], 0.78 * color + 0.1, shade[..., None] * color))


def plaster(random: np.random.Generator, color: Float[np.ndarray, "3"], size: int = 256) -> Texture:
    """Returns paint that is not quite even."""
    shade = 1 + _smooth(random.normal(size=(size, size)), (8, 8)) * 0.03 + random.normal(0, 0.008, (size, size))
    return as_texture(shade[..., None] * color)


def carpet(random: np.random.Generator, color: Float[np.ndarray, "3"], size: int = 128) -> Texture:
    """Returns coarse noise."""
    shade = 1 + random.normal(0, 0.07, (size, size)) + _smooth(random.normal(size=(size, size)), (4, 4)) * 0.3
    return as_texture(shade[..., None] * color)


def stripes(random: np.random.Generator, color: Float[np.ndarray, "3"], other: Float[np.ndarray, "3"]) -> Texture:
    """Returns upright stripes of two colours."""
    band = (np.arange(128) // 16 % 2)[None, :, None]
    shade = 1 + random.normal(0, 0.01, (64, 128, 1))
    return as_texture(shade * np.where(band, color, other))


def rug(random: np.random.Generator, colors: Float[np.ndarray, "3 3"], size: int = 128) -> Texture:
    """Returns borders around a field of diamonds."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
    ring = np.maximum(np.abs(x), np.abs(y))
    diamond = (np.abs(x) + np.abs(y)) * random.integers(3, 7) % 1 < 0.4
    image = np.where(diamond[..., None], colors[1], colors[0])
    image = np.where(((ring > 0.8) & (ring < 0.9))[..., None], colors[2], image)
    image = np.where((ring >= 0.9)[..., None], colors[1], image)
    return as_texture(image * (1 + random.normal(0, 0.05, (size, size, 1))))


def painting(random: np.random.Generator, size: int = 96) -> Texture:
    """Returns an abstract picture: a sky, hills and discs, or overlapping rectangles."""
    y, x = np.mgrid[0:size, 0:size] / size
    palette = random.uniform(0.1, 0.95, (6, 3))
    if random.uniform() < 0.5:
        image = palette[0] * (1 - y[..., None]) + palette[1] * y[..., None]
        for layer in range(3):
            hill = 0.45 + 0.15 * layer + 0.08 * np.sin(x * random.uniform(4, 12) + random.uniform(0, 6))
            image = np.where((y > hill)[..., None], palette[2 + layer], image)
        disc = (x - random.uniform(0.2, 0.8)) ** 2 + (y - 0.25) ** 2 < 0.01
        return as_texture(np.where(disc[..., None], palette[5], image))
    image = np.broadcast_to(palette[0], (size, size, 3))
    for color in palette[1:]:
        left, top = random.uniform(0, 0.7, 2)
        inside = (x > left) & (x < left + random.uniform(0.1, 0.5)) & (y > top) & (y < top + random.uniform(0.1, 0.5))
        image = np.where(inside[..., None], color, image)
    return as_texture(image)


def landscape(random: np.random.Generator, size: int = 512) -> Texture:
    """Returns what is seen through windows: a sky with clouds, woods far away, a lawn, bushes."""
    y, x = np.mgrid[0:size, 0:size] / size
    low, high = np.asarray([0.90, 0.95, 1.0]), np.asarray([0.50, 0.70, 0.95])
    image = high * (1 - y[..., None]) + low * y[..., None]
    cloud = np.clip(_smooth(random.normal(size=(size, size)), (14, 50)) * 6, 0, 1)[..., None]
    image = image * (1 - 0.8 * cloud) + 0.8 * cloud
    for base, rough, color in ((0.50, 0.05, [0.55, 0.65, 0.62]), (0.55, 0.03, [0.33, 0.45, 0.25])):
        line = base + rough * _smooth(random.normal(size=(1, size)), (0, 14))[0] * 4
        image = np.where((y > line)[..., None], color * random.uniform(0.9, 1.1, 3), image)
    lawn = np.asarray([0.42, 0.56, 0.25]) * (1 + 0.08 * random.normal(size=(size, size, 1)))
    image = np.where((y > 0.60)[..., None], lawn, image)
    for _ in range(random.integers(3, 9)):
        cx, cy, radius = random.uniform(0, 1), random.uniform(0.52, 0.62), random.uniform(0.03, 0.1)
        bush = (x - cx) ** 2 + (y - cy) ** 2 < radius**2 * (1 + 0.6 * _smooth(random.normal(size=(size, size)), (6, 6)))
        image = np.where(bush[..., None], np.asarray([0.25, 0.40, 0.18]) * random.uniform(0.8, 1.3), image)
    return as_texture(image)


def as_texture(image: Float[np.ndarray, "h w 3"]) -> Texture:
    """Returns opaque 8-bit RGBA of display values."""
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=-1)


def _smooth(noise: np.ndarray, widths: tuple[int, int]) -> np.ndarray:
    return gaussian_filter(noise, widths, mode="wrap") * np.sqrt(np.prod(np.maximum(widths, 0.3)))


def _cuts(length: float, step: float, spans: list[tuple[float, ...]]) -> np.ndarray:
    edges = np.unique(np.clip(np.concatenate([[0.0, length], np.ravel(spans)]), 0, length).round(6))
    pieces = [
        np.linspace(a, b, max(1, int(np.ceil((b - a) / step))) + 1)[:-1] for a, b in zip(edges, edges[1:], strict=False)
    ]
    return np.append(np.concatenate(pieces), length)
