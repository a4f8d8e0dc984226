"""Rooms furnished with real objects, and a camera that walks through them: records of scenes, with depth.

Everything about a room is decided by its name and the seed, so adding rooms changes no others. Rooms for training are
furnished with objects from the training side of the split only, rooms for testing with those of the other side.
"""

import dataclasses
import functools
import hashlib
import os
from typing import Any, NamedTuple

import numpy as np

from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.maps import encode_depth, encode_normals
from diffgs_jax.data.records import EncodedMap, Record, encode_record
from diffgs_jax.data.split import Split
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras
from diffgs_jax.synthesis.meshes.engines import Renderer, open_renderer
from diffgs_jax.synthesis.meshes.loading import MeshPart
from diffgs_jax.synthesis.meshes.objects import MapName
from diffgs_jax.synthesis.rooms.furniture import Furniture
from diffgs_jax.synthesis.rooms.layout import lay_out
from diffgs_jax.synthesis.rooms.light import RayScene, expose, light_room
from diffgs_jax.synthesis.rooms.path import walk
from diffgs_jax.synthesis.rooms.plan import KINDS, Layout
from diffgs_jax.synthesis.rooms.shapes import merged
from diffgs_jax.synthesis.rooms.shell import build_shell

_MOST_ATTEMPTS = 12
_LEAST_OBJECTS = 3


@dataclasses.dataclass(frozen=True)
class RoomSettings:
    """How rooms become records."""

    size: int = 256
    """Height and width of a frame, pixels."""
    frames: int = 32
    """Views of each room, along the walk."""
    seed: int = 0
    """Another seed gives other rooms."""
    rays: int = 32
    """Rays for each corner of each triangle that gather light from other surfaces."""
    maps: tuple[MapName, ...] = ("depth",)
    """What to store beside the pictures."""
    depth_step: float = 0.0
    """Least step of the stored depth, metres; 0.01 makes its files a third as large."""
    quality: int = 85
    """WebP quality."""


class RoomPlan(NamedTuple):
    """A room to make: its name, and the side of the split it is furnished from."""

    uid: str
    split: Split


class Room(NamedTuple):
    """A room in its light, and the walk through it."""

    layout: Layout
    parts: list[MeshPart]
    cameras: Cameras


def build_room(plan: RoomPlan, furniture: list[Furniture], settings: RoomSettings) -> Room:
    """Furnishes a room, lights it and walks through it.

    Raises:
        DataError: if it could not be furnished so that one can walk in it.
    """
    pieces = sorted((piece for piece in furniture if piece.split == plan.split), key=lambda piece: piece.uid)
    digest = hashlib.sha256(f"{settings.seed}/{plan.uid}".encode()).digest()
    reason = DataError(f"{plan.uid} could not be furnished")
    for attempt in range(_MOST_ATTEMPTS):
        random = np.random.default_rng([int.from_bytes(digest[:8], "little"), attempt])
        layout = lay_out(KINDS[random.integers(len(KINDS))], pieces, random)
        if sum(one.model is not None for one in layout.placed) < _LEAST_OBJECTS:
            continue
        shell = build_shell(layout, random)
        bare, things = merged(shell.matt), [part for one in layout.placed for part in one.parts]
        matt = bare + things
        kinds = np.repeat([0, 1, 2], [_faces(bare), _faces(things), _faces(shell.shining)])
        try:
            cameras = walk(layout, RayScene(matt + shell.shining), kinds, settings.frames, random)
        except DataError as error:
            reason = error
            continue
        half = np.append(layout.size[:2] / 2, 0.0)
        bounds = -half - [0.15, 0.15, 0.0], half + [0.15, 0.15, layout.size[2]]
        lit = light_room(
            matt + shell.shining, shell.glows, shell.sun, rays=settings.rays, bounds=bounds, seed=settings.seed
        )
        return Room(layout, _exposed(lit, _faces(shell.shining), cameras), cameras)
    raise reason


def render_room(plan: RoomPlan, furniture: list[Furniture], settings: RoomSettings) -> bytes:
    """Returns the encoded record of a room.

    Raises:
        DataError: if it could not be furnished.
    """
    room = build_room(plan, furniture, settings)
    renderer = _renderer(os.getpid(), settings.size)
    pictures = renderer.render(room.parts, room.cameras)
    maps: dict[str, EncodedMap] = {}
    if settings.maps:
        surfaces = renderer.render_surfaces(room.parts, room.cameras)
        encoders = {
            "depth": lambda: encode_depth(surfaces.depth, least_step=settings.depth_step),
            "normals": lambda: encode_normals(surfaces.normals),
        }
        maps = {name: encoders[name]() for name in settings.maps}
    models = {one.model.uid: one.model for one in room.layout.placed if one.model is not None}
    names = sorted({model.name.lower() for model in models.values()})
    record = Record(
        uid=plan.uid,
        domain="scene",
        images=[encode_webp(image, quality=settings.quality) for image in pictures],
        cameras=room.cameras,
        maps=maps,
        caption=f"{room.layout.kind} with {', '.join(names)}",
        name=room.layout.kind,
        creator=", ".join(sorted({model.creator for model in models.values() if model.creator})),
        license=" AND ".join(sorted({model.license for model in models.values()})),
        source=", ".join(sorted(models)),
    )
    return encode_record(record)


def _exposed(parts: list[MeshPart], shining: int, cameras: Cameras) -> list[MeshPart]:
    """Sets the exposure by what the camera sees of all but the last faces, which shine by themselves."""
    scene = RayScene(parts)
    place = (np.arange(16) + 0.5) / 16
    fx, fy, cx, cy = cameras.intrinsics[0]
    x, y = (grid.ravel() for grid in np.meshgrid((place - cx) / fx, (place - cy) / fy))
    local = np.stack([x, y, np.ones_like(x)], axis=1)
    faces = []
    for pose in cameras.camera_to_world[::2]:
        hits = scene.hits(np.broadcast_to(pose[:3, 3], local.shape), local @ pose[:3, :3].T)
        faces.append(hits["primID"][hits["primID"] >= 0])
    total = _faces(parts)
    seen = np.bincount(np.concatenate(faces), minlength=total)[: total - shining].astype(float)
    return expose(parts, seen)


def _faces(parts: list[MeshPart]) -> int:
    return sum(len(part.positions) for part in parts)


@functools.cache
def _renderer(process: int, size: int) -> Renderer:
    del process  # in the cache's key, because a renderer does not survive a fork
    return open_renderer(size)


def describe_settings(settings: RoomSettings) -> dict[str, Any]:
    """Returns what a dataset's index says of how its rooms were made."""
    return {"program": "diffgs_jax rooms", "units": "metres", "up": "z", **dataclasses.asdict(settings)}
