"""Real objects in real sizes, sorted by what they are in a room.

Positions are in metres: an object stands at the origin on z = 0, its front towards +x.
"""

import functools
import pathlib
import re
from typing import Literal, NamedTuple

import msgpack
import numpy as np

from diffgs_jax.data.split import Split, geometry_hash, split_of
from diffgs_jax.errors import DataError
from diffgs_jax.synthesis.meshes.loading import MeshPart, load_mesh, triangles
from diffgs_jax.synthesis.meshes.sweethome3d import CatalogueEntry

_MOST_FACES = 43_000
_WORST_PROPORTIONS = 1.15
"""A model whose proportions contradict its catalogue more than this has no known size."""

Role = Literal[
    "bed", "bedside", "wardrobe", "sofa", "armchair", "chair", "table", "desk", "shelves", "screen", "plant", "lamp",
    "instrument", "cabinet", "upper cabinet", "fridge", "toilet", "basin", "shower", "thing", "small thing", "hanging",
]  # fmt: skip
# The first that matches the catalogue's English name decides.
_ROLES: tuple[tuple[Role, str], ...] = (
    ("bedside", r"bedside|nightstand|night table"),
    ("bed", r"\bbeds?\b|bunk|crib"),
    ("wardrobe", r"wardrobe|cupboard|closet|armoire|dresser|^chest\b"),
    ("armchair", r"armchair|relax chair|lounge"),
    ("sofa", r"sofa|couch|settee"),
    ("chair", r"chair|stool|bench"),
    ("desk", r"\bdesk\b(?! lamp)|technical table"),
    ("lamp", r"lamp|light|lantern"),
    ("small thing", r"table fan|table clock"),
    ("table", r"\btable\b(?!.* (tennis|bat)$)|football"),
    ("upper cabinet", r"upper|glass door cabinet|range hood"),
    ("shelves", r"book ?case|shelves|shelf|(?<!towel )\brack\b"),
    ("screen", r"television|\btv\b|white ?board"),
    ("plant", r"plant|orchid|cactus|ficus|flower|bonsai|tree|yucca|palm"),
    ("instrument", r"piano|guitar|speaker|drum|harp|cello|violin|organ"),
    ("fridge", r"fridge|refrigerator|high cabinet"),
    ("cabinet", r"cabinet|oven|cooker|dishwasher|washer|washing|dryer|sink|island"),
    ("toilet", r"toilets? unit|^toilets?$|bidet|^wc"),
    ("basin", r"washbasin|vanity|wash stand"),
    ("shower", r"shower stall|bathtub|^bath|shower cabin"),
    ("hanging", r"ceiling fan|chandelier"),
)
_INDOORS = {"Living room", "Bedroom", "Kitchen", "Office", "Bathroom", "Lights", "Miscellaneous"}
_OUTDOORS = (
    r"road|fence|sign|container|pallet|tatami|extinguisher|railing|pool$|socket|plug|dimmer|switch|umbrella|radiator"
    r"|carpet|mat$|tennis|bill|shower curtain|lamppost|street|park light"
)


class Furniture(NamedTuple):
    """One object that can furnish a room.

    Attributes:
        uid: of the catalogue.
        path: the mesh file.
        rotation: `[3][3]`, what stands it upright.
        name: English.
        creator: whom to credit.
        license: SPDX name.
        role: what it is in a room.
        size: metres (depth x, width y, height z).
        scale: metres for each unit of the object frame.
        elevation: metres above the floor.
        split: rooms of one side of the split are furnished with objects of that side only.
    """

    uid: str
    path: str
    rotation: tuple[tuple[float, ...], ...]
    name: str
    creator: str
    license: str
    role: Role
    size: tuple[float, float, float]
    scale: float
    elevation: float
    split: Split


def role_of(entry: CatalogueEntry) -> Role | None:
    """Returns what an object is in a room, None for what belongs in none."""
    name = entry.name.lower()
    if entry.category not in _INDOORS or re.search(_OUTDOORS, name):
        return None
    largest = max(entry.size)
    for role, words in _ROLES:
        if re.search(words, name):
            if role == "lamp" and entry.elevation > 1.7:
                return "hanging"
            return "small thing" if role in ("plant", "lamp", "screen") and 0 < largest < 0.55 else role
    if entry.elevation > 0 or largest > 2.2 or min(entry.size) < 0.04:
        return None
    return "small thing" if largest < 0.5 else "thing"


def measure(entry: CatalogueEntry, test_percent: float) -> bytes:
    """Returns what is to be known of an object before rooms are furnished, as msgpack of `Furniture`'s fields.

    Raises:
        DataError: if the mesh cannot be read, is too large, or its size is not known.
    """
    role = role_of(entry)
    if role is None:
        raise DataError(f"{entry.name} belongs in no room")
    parts = load_mesh(entry.path, rotation=entry.rotation)
    soup = triangles(parts)
    if len(soup) > _MOST_FACES:
        raise DataError(f"{entry.path} has {len(soup)} faces, more than {_MOST_FACES}")
    corners = soup.reshape(-1, 3)
    extents = corners.max(axis=0) - corners.min(axis=0)
    width, depth, height = entry.size
    factors = np.asarray([depth, width, height]) / np.maximum(extents, 1e-6)
    if min(entry.size) <= 0 or factors.max() > _WORST_PROPORTIONS * factors.min():
        raise DataError(f"{entry.path}: the catalogue's size contradicts the model's proportions")
    scale = float(np.median(factors))
    fields = Furniture(
        uid=entry.uid,
        path=str(entry.path),
        rotation=tuple(map(tuple, entry.rotation.tolist())),
        name=entry.name,
        creator=entry.creator,
        license=entry.license,
        role=role,
        size=tuple((extents * scale).tolist()),
        scale=scale,
        elevation=entry.elevation,
        split=split_of(geometry_hash(soup), test_percent),
    )
    return msgpack.packb(fields._asdict())


def read_measured(file: pathlib.Path) -> Furniture:
    """Returns what `measure` found."""
    fields = msgpack.unpackb(file.read_bytes(), use_list=False)
    return Furniture(**fields)


@functools.lru_cache(maxsize=128)
def furniture_parts(path: str, rotation: tuple[tuple[float, ...], ...], scale: float) -> tuple[MeshPart, ...]:
    """Returns the triangles of an object in metres, standing at the origin on z = 0."""
    parts = load_mesh(pathlib.Path(path), rotation=np.asarray(rotation))
    lowest = min(float(part.positions[..., 2].min()) for part in parts)
    return tuple(part._replace(positions=(part.positions - [0.0, 0.0, lowest]) * scale) for part in parts)
