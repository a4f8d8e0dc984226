"""0 A.D.'s actors: XML files that say which mesh, textures and further actors make an object, with variants to choose.

An actor is a list of groups of variants, one of which is chosen from each. What is chosen later replaces the mesh, the
textures of the same name, the animations of the same name, and what is attached at the same point. A variant may begin
with a file of its own. What is there for low graphics quality alone is left out.

Source: the game's own loader (ObjectBase.cpp) and docs (trac.wildfiregames.com/wiki/Actor).
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from typing import NamedTuple

from diffgs_jax.errors import DataError

ReadXml = Callable[[str], ET.Element]
_DEEPEST = 8


class Variant(NamedTuple):
    """What one choice of a group brings.

    Attributes:
        name: what the game calls it.
        frequency: how often the game chooses it beside the others of its group; 0 is for states such as "death".
        mesh: file below `art/meshes`, or "".
        color: "r g b" of object-coloured materials, or "".
        textures: files below `art/textures/skins`, by what they are for (`baseTex`).
        props: attachment point and actor, "" for none.
        animations: file below `art/animation`, the first of each name.
    """

    name: str = ""
    frequency: int = 0
    mesh: str = ""
    color: str = ""
    textures: dict[str, str] = {}
    props: tuple[tuple[str, str], ...] = ()
    animations: dict[str, str] = {}


class Actor(NamedTuple):
    """An actor's groups of variants, and its material below `art/materials`."""

    groups: tuple[tuple[Variant, ...], ...]
    material: str


def read_actor(read: ReadXml, path: str) -> Actor:
    """Reads an actor and the variants in files of their own.

    Args:
        read: returns an XML file of the game by its path.
        path: of the actor, `art/actors/….xml`.

    Raises:
        DataError: if a file is missing or no actor.
    """
    root = read(path)
    for _ in range(_DEEPEST):
        if root.tag != "qualitylevels":
            break
        # The last level is the best one; it is there, in another file, or what several levels share.
        level = root.findall("actor")[-1] if root.findall("actor") else ET.Element("actor")
        inline = root.find("inline")
        if level.get("file"):
            root = read(f"art/actors/{level.get('file')}")
        else:
            root = inline if level.get("inline") is not None and inline is not None else level
    groups = tuple(
        tuple(_variant(read, one) for one in group.findall("variant") if one.get("maxquality") is None)
        for group in root.findall("group")
        if group.get("maxquality") is None
    )
    return Actor(tuple(filter(None, groups)), (root.findtext("material") or "default.xml").strip())


def composed(variants: Sequence[Variant]) -> Variant:
    """Returns what the variants of all groups make together; the later ones count."""
    made = Variant()
    for one in variants:
        replaced = {point for point, _ in one.props}
        made = Variant(
            one.name or made.name,
            one.frequency,
            one.mesh or made.mesh,
            one.color or made.color,
            {**made.textures, **one.textures},
            tuple(prop for prop in made.props if prop[0] not in replaced) + one.props,
            {**made.animations, **one.animations},
        )
    return made


def _variant(read: ReadXml, element: ET.Element, depth: int = 0) -> Variant:
    base = Variant()
    if element.get("file"):
        if depth >= _DEEPEST:
            raise DataError("variants refer to each other without end")
        base = _variant(read, read(f"art/variants/{element.get('file')}"), depth + 1)
    frequency = element.get("frequency")
    animations: dict[str, str] = {}
    for one in element.iterfind("animations/animation"):
        if one.get("file"):
            animations.setdefault(str(one.get("name")).lower(), str(one.get("file")))
    own = Variant(
        element.get("name") or base.name,
        base.frequency,
        (element.findtext("mesh") or "").strip(),
        (element.findtext("color") or "").strip(),
        {str(one.get("name")): str(one.get("file")) for one in element.iterfind("textures/texture")},
        tuple(
            (str(one.get("attachpoint")), (one.get("actor") or "").strip())
            for one in element.iterfind("props/prop")
            if one.get("maxquality") is None
        ),
        animations,
    )
    made = composed([base, own])
    return made if frequency is None else made._replace(frequency=int(frequency))
