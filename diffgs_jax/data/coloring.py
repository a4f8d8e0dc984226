"""Colours of objects by name: found by rule in their pictures, put into captions, and changed in copies.

Names are points in CIE Lab (1976, D65), where equal distances look about equally different; a pixel has the nearest
name. Colours of captions come from the images.
"""

import hashlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.records import Record
from diffgs_jax.errors import DataError

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (190, 35, 40),
    "orange": (230, 125, 30),
    "yellow": (235, 210, 60),
    "green": (60, 140, 65),
    "blue": (45, 90, 175),
    "purple": (120, 65, 150),
    "pink": (235, 150, 175),
    "brown": (120, 75, 45),
    "beige": (215, 190, 150),
    "black": (25, 25, 25),
    "grey": (125, 125, 125),
    "white": (240, 240, 238),
}
"""sRGB of each name."""

TARGETS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "white")
"""The names that copies are given."""

TEMPLATES = (
    "{article} {color} {name}",
    "{name}, {color}",
    "{color} {category}",
    "a {name} in {color}",
    "the {color} {name}",
)
"""Captions; which one a record has follows from its name."""

_SHARE = 0.3  # of the object's pixels that a second colour needs
_SOFTNESS = 12.0  # Lab units beyond the nearest name at which a pixel is changed by 1 / e
_WHITE = np.asarray([0.95047, 1.0, 1.08883])
_TO_XYZ = np.asarray(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_BEND = 6 / 29
_NAMES = tuple(COLORS)


class NamedColors(NamedTuple):
    """The colours of an object.

    Attributes:
        names: the most frequent one, and a second one if it is frequent enough.
        shares: of the object's pixels, for each of `COLORS`.
        lab: `[3]` mean of the pixels of the most frequent one.
    """

    names: tuple[str, ...]
    shares: Float[np.ndarray, "c"]
    lab: Float[np.ndarray, "3"]


def to_lab(rgb: Float[np.ndarray, "*shape 3"] | UInt8[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Returns CIE Lab of sRGB colours: uint8, or floats in [0, 1]."""
    values = rgb / 255.0 if rgb.dtype == np.uint8 else np.asarray(rgb, np.float64)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    bent = np.where(xyz > _BEND**3, np.cbrt(xyz), xyz / (3 * _BEND**2) + 4 / 29)
    return np.stack(
        [116 * bent[..., 1] - 16, 500 * (bent[..., 0] - bent[..., 1]), 200 * (bent[..., 1] - bent[..., 2])], axis=-1
    )


def from_lab(lab: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Returns sRGB in [0, 1] of CIE Lab colours, the nearest by component where there is none."""
    middle = (lab[..., 0] + 16) / 116
    bent = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], axis=-1)
    xyz = np.where(bent > _BEND, bent**3, 3 * _BEND**2 * (bent - 4 / 29)) * _WHITE
    linear = np.clip(xyz @ np.linalg.inv(_TO_XYZ).T, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _of_names() -> Float[np.ndarray, "c 3"]:
    return to_lab(np.asarray(list(COLORS.values()), np.uint8))


def nearest_names(lab: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, "n"]:
    """Returns the number of the name in `COLORS` that is nearest to each colour."""
    return np.linalg.norm(lab[:, None] - _of_names()[None], axis=-1).argmin(axis=1)


def named_colors(pictures: Sequence[UInt8[np.ndarray, "h w 4"]]) -> NamedColors:
    """Returns the colours of the object in pictures of it.

    Args:
        pictures: straight alpha; pixels that are half covered at least are the object's.

    Raises:
        DataError: if there are none.
    """
    pixels = np.concatenate([picture[picture[..., 3] >= 128][:, :3] for picture in pictures])
    if not len(pixels):
        raise DataError("the pictures show nothing that could have a colour")
    lab = to_lab(pixels)
    found = nearest_names(lab)
    shares = np.bincount(found, minlength=len(COLORS)) / len(found)
    first, second = np.argsort(-shares, kind="stable")[:2]
    names = (_NAMES[first], _NAMES[second]) if shares[second] >= _SHARE else (_NAMES[first],)
    return NamedColors(names, shares, lab[found == first].mean(axis=0))


def recolored(
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]], colors: NamedColors, target: str
) -> list[UInt8[np.ndarray, "h w 4"]]:
    """Returns pictures of the object with its most frequent colour changed, light and shade kept.

    A pixel moves in Lab by as much as the colour's mean does, the less the nearer it is to another name.

    Args:
        pictures: straight alpha.
        colors: of these pictures.
        target: one of `COLORS`.
    """
    names = _of_names()
    own = _NAMES.index(colors.names[0])
    move = names[_NAMES.index(target)] - colors.lab
    changed = []
    for picture in pictures:
        lab = to_lab(picture[..., :3])
        distance = np.linalg.norm(lab[..., None, :] - names[None, None], axis=-1)
        weight = np.exp(-(distance[..., own] - distance.min(axis=-1)) / _SOFTNESS)
        rgb = from_lab(lab + weight[..., None] * move)
        changed.append(np.concatenate([np.rint(rgb * 255).astype(np.uint8), picture[..., 3:]], axis=-1))
    return changed


def colored_caption(record: Record, colors: NamedColors, template: int) -> str:
    """Returns a caption with an object's colours.

    Args:
        record: whose caption is "name, category", or a name alone.
        colors: of its pictures.
        template: number of one of `TEMPLATES`.
    """
    said = record.caption or record.name
    name, _, category = said.rpartition(", ") if ", " in said else (said, "", said)
    color = " and ".join(colors.names)
    words = {"article": "an" if color[0] in "aeiou" else "a", "color": color}
    return TEMPLATES[template % len(TEMPLATES)].format(**words, name=name.lower(), category=category.lower())


def colored_copies(record: Record, copies: int) -> list[Record]:
    """Returns a record with a caption that has its colours, and recoloured copies of it, each with another caption.

    What a copy's caption says is what is found in its pictures, not what was asked for. Everything follows from the
    record's name, so that it is the same every time.

    Args:
        record: of an object.
        copies: how many.

    Raises:
        DataError: if a picture cannot be read or shows nothing.
    """
    try:
        pictures = [np.asarray(Image.open(io.BytesIO(image)).convert("RGBA")) for image in record.images]
    except (OSError, ValueError) as error:
        raise DataError(f"record {record.uid}: {error}") from None
    colors = named_colors(pictures)
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(record.uid.encode()).digest()[:8], "little"))
    first = int(random.integers(len(TEMPLATES)))
    others = [name for name in TARGETS if name != colors.names[0]]
    made = [record._replace(caption=colored_caption(record, colors, first))]
    for number, target in enumerate(random.permutation(others)[:copies]):
        changed = recolored(pictures, colors, str(target))
        caption = colored_caption(record, named_colors(changed), first + 1 + number)
        images = [encode_webp(picture) for picture in changed]
        made.append(record._replace(uid=f"{record.uid}#{target}", images=images, caption=caption))
    return made
