"""Which of 0 A.D.'s actors are objects worth showing, what they are called, and why the others are not.

Rules go by names, by what an actor is made of, and by what it is attached to; `read_game_object` refuses what is too
simple or flat when it is read.
"""

import collections
import re
from typing import NamedTuple

from diffgs_jax.errors import DataError
from diffgs_jax.synthesis.meshes.zeroad.archive import GameArchive
from diffgs_jax.synthesis.meshes.zeroad.assembly import Choice, meshes_of

RULES = {
    "fragments of buildings and plants": (
        r"props/(structures|flora)/|campaigns/props/|props/special/(greek_stoa|palisade_)|structures/.*_door$"
        r"|flora/trees/.*(_top|_leaves|_needles|branches)|props/special/eyecandy/(.*_(top|cap|base|stick)$)"
    ),
    "parts of bodies and loose cloth": r"props/units/(heads|capes|blood|zebu_head)|props/(fauna|camel/teeths)|.*_hair_",
    "parts of equipment": (
        r"props/units/(shields|helmets)/props/|props/units/shields/.*_back|props/(horse|camel)/.*(rein|strap|band|crest)"
        r"|props/units/(.*_arrows|.*_emblem|.*_rein_|.*boot)|props/units/weapons/(jav|arrow|bolt|rock|sling|fire)"
        r"|props/units/weapons/(blades|sheath)|props/units/.*(_reverse|projectile|sheath|shoulder|pad_)"
    ),
    "ground and water": (
        r".*(decal|_detail|ground_|puddles|road_|water|waves|plot_|delimitator|runway|field_grain|mine_.*_snow)"
    ),
    "swarms and fins": r"fauna/(.*_circle|.*_shoal|fish_generic|whale_fin)",
    "particles and markers": r"particle/|.*marker|.*(aura|_rays|hero_star|flare)|campaigns/labels|.*_impact",
    "drafts and tests": r"temp/|props/temp/|special/old/|.*(_test|dummy)",
    "building sites and rubble": r".*(fndn|foundation|scaf|construction|rubble|destruct)",
}
"""What is left out by its name, beginning with each pattern: the first rule that applies counts."""
_RANK = re.compile(r"_(b|a|e|c)(?=(_[rmhp])?$)")
_RANKS = "baec"
_STATE = re.compile(r"_(packed|pivot|walk|run)(?=$|_)")

_CATEGORIES = {
    "fauna": "animal",
    "flora/trees": "tree",
    "flora": "plant",
    "fungi": "mushroom",
    "geology": "rock",
    "structures": "building",
    "units": "game figure",
    "props/units/helmets": "helmet",
    "props/units/shields": "shield",
    "props/units/weapons": "weapon",
    "props/units/armor": "armour",
    "props/units/tools": "tool",
    "props/units/standards": "standard",
    "props/units/quivers": "quiver",
    "props/units": "equipment",
    "props/horse": "horse gear",
    "props/camel": "camel gear",
    "special": "building",
    "campaigns": "miniature",
}
_SHIP = re.compile(r"reme\b|reme$|ship|boat|pentekonter|merchant|skiff")
_SIEGE = re.compile(r"siege_(ram|tower)")
_PEOPLES = {
    **dict.fromkeys(("athen", "athenians"), "Athenian"),
    **dict.fromkeys(("brit", "britons"), "British"),
    **dict.fromkeys(("cart", "kart", "carthaginians"), "Carthaginian"),
    **dict.fromkeys(("celt", "celts"), "Celtic"),
    **dict.fromkeys(("gaul", "gauls"), "Gaulish"),
    **dict.fromkeys(("han",), "Han Chinese"),
    **dict.fromkeys(("hele", "hellenes"), "Greek"),
    **dict.fromkeys(("iber", "iberians"), "Iberian"),
    **dict.fromkeys(("kush", "kushites"), "Kushite"),
    **dict.fromkeys(("macedonians",), "Macedonian"),
    **dict.fromkeys(("maur", "mauryas"), "Mauryan"),
    **dict.fromkeys(("pers", "persians"), "Persian"),
    **dict.fromkeys(("ptol", "ptolemies"), "Ptolemaic"),
    **dict.fromkeys(("rome", "romans"), "Roman"),
    **dict.fromkeys(("sele", "seleucids"), "Seleucid"),
    **dict.fromkeys(("spart", "spartans"), "Spartan"),
}
"""What the names of peoples in files and folders stand for."""


class GameObject(NamedTuple):
    """One object of the game.

    Attributes:
        uid: the actor's name, with the number of its mesh where it has several.
        choice: how it is read.
        name: what the game calls it, else the words of its file's name.
        category: what kind of thing it is, "" where the name says it all.
    """

    uid: str
    choice: Choice
    name: str
    category: str


def find_game_objects(archive: GameArchive) -> tuple[list[GameObject], dict[str, int]]:
    """Returns the objects to show, and how many each rule leaves out.

    An actor with several meshes to choose from is several objects. Two that are made of the same meshes are one.

    Raises:
        DataError: if the archive lacks the game's files.
    """
    names = archive.names("art/actors/")
    if not names:
        raise DataError("the archive holds no actors of 0 A.D.")
    dropped: collections.Counter[str] = collections.Counter()
    candidates = []
    for name in names:
        rule = next((rule for rule, pattern in RULES.items() if re.match(pattern, name)), None)
        if rule is None:
            candidates.append(name)
        else:
            dropped[rule] += 1
    ranked = {}
    for name in sorted(candidates, key=_rank):
        ranked.setdefault(_RANK.sub("", name) if name.startswith("units/") else name, name)
    dropped["other ranks of the same figure"] = len(candidates) - len(ranked)
    attached = {prop for name in names if name.startswith("units/") for prop in _props(archive, name)}
    titles = read_titles(archive)
    objects: list[GameObject] = []
    seen: set[tuple[str, ...]] = set()
    for name in sorted(ranked.values()):
        if name.startswith("units/") and name in attached:
            dropped["riders and crews, which are shown with their mounts"] += 1
            continue
        if name.startswith("units/") and _STATE.search(name):
            dropped["other states of the same figure"] += 1
            continue
        try:
            choices = _choices(archive, name)
            made = [(choice, meshes_of(archive, choice)) for choice in choices]
        except DataError:
            dropped["broken files"] += 1
            continue
        for choice, meshes in made:
            if not meshes:
                dropped["no mesh with a texture"] += 1
            elif meshes in seen:
                dropped["made of the same meshes as another"] += 1
            else:
                seen.add(meshes)
                number = "" if choice.fixed is None else f"/{choice.fixed[1]}"
                objects.append(
                    GameObject(f"{name}{number}", choice, titles.get(name) or spoken(name), category_of(name))
                )
    return objects, dict(dropped)


def read_titles(archive: GameArchive) -> dict[str, str]:
    """Returns what the game calls its actors, by their names: "Athenian Hoplite".

    Several templates may show one actor; the shortest title is the most general.
    """
    folder, titles = "simulation/templates/", {}
    for name in archive.names(folder):
        root = archive.xml(f"{folder}{name}.xml")
        actor, title = root.findtext("VisualActor/Actor"), root.findtext("Identity/GenericName")
        if actor and title:
            key, title = actor.strip().removesuffix(".xml"), title.strip()
            titles[key] = min(titles.get(key, title), title, key=lambda text: (len(text), text))
    return titles


def spoken(name: str) -> str:
    """Returns the words of a file's name, numbers and codes left out: `…/helmets/hele_attic_b3` is "Greek attic"."""
    folder, _, file = name.rpartition("/")
    words = _RANK.sub("", file).replace("-", "_").split("_")
    kept = [_PEOPLES.get(word, word.rstrip("0123456789")) for word in words if not re.fullmatch(r"[a-z]?\d*|aut", word)]
    kept = kept or words
    people = _PEOPLES.get(folder.rpartition("/")[2]) if folder.startswith(("structures/", "units/")) else None
    return " ".join([people, *kept] if people and people not in kept else kept)


def category_of(name: str) -> str:
    """Returns what kind of thing an actor of this name is, by its folder, and for ships and engines by its name."""
    if name.startswith("structures/"):
        file = name.rpartition("/")[2]
        return "ship" if _SHIP.search(file) else "siege engine" if _SIEGE.search(file) else "building"
    folder = name
    while folder := folder.rpartition("/")[0]:
        if folder in _CATEGORIES:
            return _CATEGORIES[folder]
    return ""


def _rank(name: str) -> tuple[int, str]:
    found = _RANK.search(name)
    return (_RANKS.index(found[1]) if found else 0, name)


def _choices(archive: GameArchive, name: str) -> list[Choice]:
    """Returns a choice for each of the meshes that the game may show, or the one there is."""
    for number, group in enumerate(archive.actor(name).groups):
        seen: dict[str, int] = {}
        common = any(variant.frequency for variant in group)
        for index, variant in enumerate(group):
            if variant.mesh and (variant.frequency or not common):
                seen.setdefault(variant.mesh, index)
        if len(seen) > 1:
            return [Choice(name, (number, index)) for index in seen.values()]
    return [Choice(name)]


def _props(archive: GameArchive, name: str) -> set[str]:
    try:
        groups = archive.actor(name).groups
    except DataError:
        return set()
    return {prop.removesuffix(".xml") for group in groups for variant in group for _, prop in variant.props if prop}
