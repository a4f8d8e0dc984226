"""Whole objects of 0 A.D.: an actor's mesh in its idle pose, with everything that is attached to it."""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from diffgs_jax.errors import DataError
from diffgs_jax.meshing import MeshFilePart
from diffgs_jax.synthesis.meshes.zeroad.actors import Actor, Variant, composed
from diffgs_jax.synthesis.meshes.zeroad.archive import GameArchive, open_game_archive
from diffgs_jax.synthesis.meshes.zeroad.models import posed_model

LEAST_TRIANGLES = 40
"""An object of fewer shows little."""
LEAST_THICKNESS = 0.02
"""An object whose smallest extent is less of its largest is a sheet: a decal, a banner without its pole."""
LEAST_WIDTH = 0.06
"""An object whose second extent is less of its largest is a rod, too thin for a picture of 128 pixels: a spear."""
_DEEPEST = 6
_UNSEEN_POINTS = ("projectile", "loaded-")
"""What hangs there appears only while the object shoots."""
_UNSEEN_MATERIALS = ("water", "aura")
_PLAYER_COLORS = ((21, 55, 149), (150, 20, 20), (86, 180, 31), (231, 200, 5), (50, 170, 170), (160, 80, 200))
"""Of the game's default settings, RGB."""


class Choice(NamedTuple):
    """One object that an actor can become.

    Attributes:
        actor: its name, the path below `art/actors` without the suffix.
        fixed: a group and the variant of it that is chosen; the others are drawn by the actor's name.
    """

    actor: str
    fixed: tuple[int, int] | None = None


class _Piece(NamedTuple):
    mesh: str
    positions: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "v 2"]
    faces: Int[np.ndarray, "f 3"]
    skin: tuple[str, Literal["solid", "cut", "colored"], tuple[int, ...]]


def read_game_object(path: pathlib.Path, choice: Choice) -> list[MeshFilePart]:
    """Returns an object's triangles, y up and right-handed, its front +z.

    Args:
        path: the game's archive.
        choice: which object.

    Raises:
        DataError: if a file is missing or broken, or the object is too simple, flat, or not to be seen.
    """
    archive = open_game_archive(path)
    pieces = list(_pieces(archive, choice, choice.actor, np.eye(4), 0))
    if not pieces:
        raise DataError(f"{choice.actor} has no mesh with a texture")
    if sum(len(piece.faces) for piece in pieces) < LEAST_TRIANGLES:
        raise DataError(f"{choice.actor} has fewer than {LEAST_TRIANGLES} triangles")
    points = np.concatenate([piece.positions[piece.faces.reshape(-1)] for piece in pieces])
    thin, wide, long = np.sort(points.max(axis=0) - points.min(axis=0))
    if not thin >= LEAST_THICKNESS * long:
        raise DataError(f"{choice.actor} is flat")
    if wide < LEAST_WIDTH * long:
        raise DataError(f"{choice.actor} is a rod")
    skins = dict.fromkeys(piece.skin for piece in pieces)
    return [_merged(archive, [piece for piece in pieces if piece.skin == skin]) for skin in skins]


def meshes_of(archive: GameArchive, choice: Choice) -> tuple[str, ...]:
    """Returns the names of all meshes of an object, in order; none where it has no mesh with a texture.

    Raises:
        DataError: if a file is missing or broken.
    """
    return tuple(sorted(mesh for mesh, _ in _visible(archive, choice, choice.actor, 0)))


def chosen_variant(actor: Actor, name: str, seed: str, fixed: tuple[int, int] | None = None) -> Variant:
    """Returns one variant of every group, put together, drawn as often as the game draws them.

    Args:
        actor: what to choose from.
        name: of the actor; with `seed` it decides the draw.
        seed: name of the whole object.
        fixed: a group and the variant of it that is not drawn.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    variants = []
    for number, group in enumerate(actor.groups):
        frequencies = np.asarray([variant.frequency for variant in group], float)
        # Where none has a frequency, all but the first are states: the first one is what stands about.
        drawn = int(random.choice(len(group), p=frequencies / frequencies.sum())) if frequencies.any() else 0
        variants.append(group[fixed[1] if fixed and fixed[0] == number else drawn])
    return composed(variants)


def _visible(archive: GameArchive, choice: Choice, name: str, depth: int) -> Iterator[tuple[str, Variant]]:
    """Yields the meshes of an actor and of what is attached to it, without reading them."""
    chosen = _chosen(archive, choice, name, depth)
    if chosen is None or depth > _DEEPEST:
        return
    if _is_seen(archive, archive.actor(name).material, chosen):
        yield chosen.mesh, chosen
    for point, prop in chosen.props:
        if prop and not point.startswith(_UNSEEN_POINTS):
            yield from _visible(archive, choice, _without_suffix(prop), depth + 1)


def _pieces(archive: GameArchive, choice: Choice, name: str, place: np.ndarray, depth: int) -> Iterator[_Piece]:
    chosen = _chosen(archive, choice, name, depth)
    if chosen is None or depth > _DEEPEST:
        return
    idle = chosen.animations.get("idle")
    model = posed_model(archive.model(chosen.mesh), archive.pose(idle) if idle else None)
    actor = archive.actor(name)
    if _is_seen(archive, actor.material, chosen):
        yield _Piece(
            chosen.mesh,
            model.positions @ place[:3, :3].T + place[:3, 3],
            model.normals @ place[:3, :3].T,
            model.uv,
            model.faces,
            _skin(archive, actor.material, chosen, choice.actor),
        )
    for point, prop in chosen.props:
        where = model.points.get(point)
        if prop and where is not None and not point.startswith(_UNSEEN_POINTS):
            yield from _pieces(archive, choice, _without_suffix(prop), place @ where.transform, depth + 1)


def _chosen(archive: GameArchive, choice: Choice, name: str, depth: int) -> Variant | None:
    """Returns what an actor is made of, or None where it has no mesh, as particles and decals have none."""
    try:
        actor = archive.actor(name)
    except DataError:
        if depth:  # as in the game, where what cannot be attached is missing
            return None
        raise
    chosen = chosen_variant(actor, name, choice.actor, choice.fixed if depth == 0 else None)
    return chosen if chosen.mesh and archive.has_model(chosen.mesh) else None


def _is_seen(archive: GameArchive, material: str, chosen: Variant) -> bool:
    textured = archive.has_skin(chosen.textures.get("baseTex", ""))
    return textured and not any(word in material for word in _UNSEEN_MATERIALS)


def _skin(
    archive: GameArchive, material: str, chosen: Variant, seed: str
) -> tuple[str, Literal["solid", "cut", "colored"], tuple[int, ...]]:
    """Returns texture, kind and colour: where a texture's alpha is 0, some materials show a colour, others nothing."""
    defines, texture = archive.material(material), chosen.textures["baseTex"]
    if "USE_TRANSPARENT" in defines:
        return texture, "cut", ()
    if "USE_PLAYERCOLOR" in defines:
        number = hashlib.sha256(seed.encode()).digest()[8] % len(_PLAYER_COLORS)
        return texture, "colored", _PLAYER_COLORS[number]
    if "USE_OBJECTCOLOR" in defines and chosen.color:
        red, green, blue = (int(value) for value in chosen.color.split())
        return texture, "colored", (red, green, blue)
    return texture, "solid", ()


def _merged(archive: GameArchive, pieces: list[_Piece]) -> MeshFilePart:
    """Returns the pieces of one skin as one part, mirrored, because the game's world is left-handed, its front −z."""
    texture, kind, color = pieces[0].skin
    starts = np.cumsum([0, *(len(piece.positions) for piece in pieces)])
    vertices = np.concatenate([piece.positions for piece in pieces]) * [1.0, 1.0, -1.0]
    return MeshFilePart(
        vertices=vertices,
        normals=np.concatenate([piece.normals for piece in pieces]) * [1.0, 1.0, -1.0],
        faces=np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)]),
        uv=np.concatenate([piece.uv for piece in pieces]),
        colors=np.ones((len(vertices), 4)),
        linear=False,
        texture=_painted(archive.skin(texture), kind, color),
        clamped=(False, False),
        transparency="cut" if kind == "cut" else "solid",
    )


def _painted(skin: UInt8[np.ndarray, "h w 4"], kind: str, color: tuple[int, ...]) -> UInt8[np.ndarray, "h w 4"]:
    if kind == "cut":
        return skin
    painted = skin.copy()
    if kind == "colored":
        alpha = skin[..., 3:].astype(np.float32) / 255
        painted[..., :3] = np.rint(skin[..., :3] * (alpha + (1 - alpha) * np.asarray(color) / 255))
    painted[..., 3] = 255
    return painted


def _without_suffix(actor: str) -> str:
    return actor.removesuffix(".xml")
