"""An object apart from its background, whoever tells the two apart."""

import os
import pathlib
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.interop._matting_networks import cover_by_isnet, cover_by_rembg, load_isnet, load_rembg
from diffgs_jax.interop._plain_background import cover_of_plain_background, without_specks

Matting = Literal[
    "auto",  # its alpha where it has one, else a plain background, else the ISNet file where one is given
    "alpha",  # the picture's own transparency
    "plain",  # a background of one colour, or one that changes linearly
    "isnet",  # an ISNet network as an ONNX file, of the user's: pip install "diffgs_jax[matting]"
    "rembg",  # the rembg package, which downloads its network when it is first used: pip install "diffgs_jax[rembg]"
    "keep",  # nothing is removed: the whole picture is the object
]
"""How an object is told from its background."""

FAINT = 0.05
"""Alpha under which a pixel does not count as part of the object."""

_HINT = (
    "give a cut-out (a PNG or WebP with a transparent background), a picture of the object in front of one plain "
    "colour, or --matting rembg, or --matting-model with an ISNet ONNX file"
)


def check_matting(matting: Matting, matting_model: str | os.PathLike[str] | None) -> None:
    """Finds out before any work on pictures whether a matting is to be had.

    Raises:
        UserError: if its package is missing or its network cannot be loaded.
    """
    if matting == "isnet" and matting_model is None:
        raise UserError("matting isnet needs --matting-model, an ISNet ONNX file")
    if matting in ("isnet", "auto") and matting_model is not None:
        load_isnet(pathlib.Path(matting_model))
    if matting == "rembg":
        load_rembg()


def isolate_object(
    pixels: UInt8[np.ndarray, "h w 4"],
    *,
    name: str = "the picture",
    matting: Matting = "auto",
    matting_model: str | os.PathLike[str] | None = None,
) -> Float[np.ndarray, "h w 4"]:
    """Returns the object alone, premultiplied.

    A picture has an alpha when its most opaque pixel is at least twice as opaque as its least. A background is plain
    when most of the picture's border has one colour, or one that changes linearly; only what is connected to the
    border is removed, so a white label in front of white stays, and a closed hole that shows the background stays
    filled. A shadow counts as part of the object.

    Args:
        pixels: RGBA bytes, not premultiplied.
        name: of the picture, for messages.
        matting: who tells object and background apart.
        matting_model: the ONNX file of "isnet", which "auto" falls back on.

    Raises:
        UserError: if there is no such matting, its package is missing, or its file cannot be used.
        DataError: if nothing is visible, or the background cannot be removed in this way.
    """
    if matting not in get_args(Matting):
        raise UserError(f"matting is {matting!r}; give one of {', '.join(get_args(Matting))}")
    if matting == "isnet":
        check_matting(matting, matting_model)
    colour, alpha = pixels[..., :3].astype(np.float32) / 255, pixels[..., 3].astype(np.float32) / 255
    if alpha.max() < FAINT:
        raise DataError(f"{name} is fully transparent: there is no object to see")
    premultiplied = np.concatenate([colour * alpha[..., None], alpha[..., None]], axis=-1)
    has_alpha = alpha.min() < 0.5 * alpha.max()
    if matting == "keep":
        return premultiplied
    if matting == "alpha" and not has_alpha:
        raise DataError(f"{name} has no transparent part that could tell its object from its background; {_HINT}")
    if matting == "alpha" or (matting == "auto" and has_alpha):
        return premultiplied * without_specks(alpha >= FAINT)[..., None]

    opaque = premultiplied[..., :3] + (1 - alpha[..., None])
    if matting in ("auto", "plain"):
        matte = cover_of_plain_background(opaque)
        if matte is not None:
            if matte.cover.max() < FAINT:
                raise DataError(f"{name} shows no object: all of it has the colour of its border")
            # I = F·a + B·(1 − a), solved for F·a: the soft edge loses the background's tint.
            cover = matte.cover[..., None]
            return np.concatenate([np.clip(opaque - (1 - cover) * matte.background, 0, cover), cover], axis=-1)
        if matting == "plain" or matting_model is None:
            raise DataError(f"{name} has a busy background: {_HINT}")

    flat = np.round(opaque * 255).astype(np.uint8)
    cover = cover_by_rembg(flat) if matting == "rembg" else cover_by_isnet(flat, matting_model)
    if cover.max() < 0.5:
        raise DataError(f"{name} shows no object that the {matting} matting could find; cut it out by hand")
    cover = (cover * without_specks(cover >= FAINT))[..., None]
    return np.concatenate([opaque * cover, cover], axis=-1)
