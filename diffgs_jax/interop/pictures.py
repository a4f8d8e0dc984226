"""A user's picture becomes a condition view: the object alone, centred, about as large as in the training views.

The steps work on premultiplied colours, the only kind that can be averaged: a pixel is (colour·alpha, alpha), so
compositing on a background B is `premultiplied + (1 − alpha)·B`.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.interop._matting import cover_of_plain_background, without_specks

FOREGROUND_RATIO = 0.72
"""The larger side of an object over the side of the picture: the median over views of 725 pieces of furniture rendered
in the object frame (distance 2.7, 50°), half of which lie between 0.65 and 0.77. A bounding sphere would fill 0.86."""

_FORMATS = ("PNG", "JPEG", "WEBP")
_LARGEST_SIDE = 2048  # what is larger is averaged down while it still is bytes
_FAINT = 0.05  # alpha under which a pixel does not count as part of the object


class Picture(NamedTuple):
    """An object in front of a plain background.

    Attributes:
        image: `[h, w, 3]` in [0, 1], composited on the background, white unless asked otherwise.
        alpha: `[h, w]` the object's coverage in [0, 1].
    """

    image: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]


def load_picture(
    source: str | os.PathLike[str] | np.ndarray,
    *,
    resolution: int,
    foreground_ratio: float | None = FOREGROUND_RATIO,
    background: float = 1.0,
    smallest_side: int = 1,
) -> Picture:
    """Reads a picture, isolates its object and frames it: `read_picture`, `isolate_object`, `frame_object`.

    Args:
        source: the path of a PNG, JPEG or WebP; or pixels `[h, w, 3 or 4]`, uint8 or floats in [0, 1].
        resolution: side of the square result, pixels.
        foreground_ratio: see `frame_object`.
        background: grey level in [0, 1] to composite on.
        smallest_side: pixels; a picture or an object smaller than this is refused. The model's patch.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is not a picture, too small, empty, or has neither a cut-out nor a plain background.
    """
    if isinstance(source, np.ndarray):
        name, pixels = "the picture", _pixels_of_array(source)
    else:
        name, pixels = str(source), read_picture(source)
    height, width = pixels.shape[:2]
    too_small = f"smaller than a patch of the model ({smallest_side}×{smallest_side}); give a larger picture"
    if min(height, width) < smallest_side:
        raise DataError(f"{name} is {width}×{height} pixels, {too_small}")
    shrink = -(-max(height, width) // _LARGEST_SIDE)
    if shrink > 1:  # averaged premultiplied, inside Pillow
        pixels = np.array(Image.fromarray(pixels).reduce(shrink))
    premultiplied = isolate_object(pixels, name=name)
    top, bottom, left, right = bounding_box(premultiplied[..., 3])
    if shrink * max(bottom - top, right - left) < smallest_side:
        raise DataError(f"the object in {name} is {right - left}×{bottom - top} pixels, {too_small}")
    return frame_object(premultiplied, resolution=resolution, foreground_ratio=foreground_ratio, background=background)


def read_picture(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w 4"]:
    """Reads a PNG, JPEG or WebP of any mode as RGBA bytes, turned upright by its EXIF orientation.

    Colours are not premultiplied. Grey, palette, CMYK and 16-bit files become 8-bit RGBA; of an animation the first
    frame is read.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is not a PNG, JPEG or WebP, or is damaged.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read the picture {path}: {error.strerror or error}") from error
    with file:
        try:
            with Image.open(file, formats=_FORMATS) as picture:
                picture.load()
                return _rgba(ImageOps.exif_transpose(picture))
        except Image.UnidentifiedImageError as error:
            raise DataError(f"{path} is not a PNG, JPEG or WebP picture") from error
        except Image.DecompressionBombError as error:
            raise DataError(f"{path} has too many pixels; make it smaller first") from error
        # What Pillow's decoders let out when a file is damaged; none of it tells the user more than that.
        except (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, struct.error) as error:
            raise DataError(f"{path} is damaged and cannot be decoded ({error})") from error


def isolate_object(pixels: UInt8[np.ndarray, "h w 4"], *, name: str = "the picture") -> Float[np.ndarray, "h w 4"]:
    """Returns the object alone, premultiplied: by its alpha where the picture has one, else off a plain background.

    A picture has an alpha when its most opaque pixel is at least twice as opaque as its least. A background is plain
    when most of the picture's border has one colour, or one that changes linearly; only what is connected to the
    border is removed, so a white label in front of white stays, and a closed hole that shows the background stays
    filled. A shadow counts as part of the object.

    Args:
        pixels: RGBA bytes, not premultiplied.
        name: of the picture, for messages.

    Raises:
        DataError: if nothing is visible, or the background is busy.
    """
    colour, alpha = pixels[..., :3].astype(np.float32) / 255, pixels[..., 3].astype(np.float32) / 255
    if alpha.max() < _FAINT:
        raise DataError(f"{name} is fully transparent: there is no object to see")
    premultiplied = np.concatenate([colour * alpha[..., None], alpha[..., None]], axis=-1)
    if alpha.min() < 0.5 * alpha.max():
        return premultiplied * without_specks(alpha >= _FAINT)[..., None]

    opaque = premultiplied[..., :3] + (1 - alpha[..., None])
    matte = cover_of_plain_background(opaque)
    if matte is None:
        raise DataError(
            f"{name} has a busy background: supply a cut-out (a PNG or WebP with a transparent background) "
            "or a picture of the object in front of one plain colour"
        )
    if matte.cover.max() < _FAINT:
        raise DataError(f"{name} shows no object: all of it has the colour of its border")
    # I = F·a + B·(1 − a), solved for F·a: the soft edge loses the background's tint.
    cover = matte.cover[..., None]
    return np.concatenate([np.clip(opaque - (1 - cover) * matte.background, 0, cover), cover], axis=-1)


def frame_object(
    premultiplied: Float[np.ndarray, "h w 4"],
    *,
    resolution: int,
    foreground_ratio: float | None = FOREGROUND_RATIO,
    background: float = 1.0,
) -> Picture:
    """Cuts out a square around the object, resizes it by averaging areas, and composites it.

    Recentring treats the picture as if the camera had looked straight at the object, that is, it moves the principal
    point: a slight perspective error for an object that was far from the middle.

    Args:
        premultiplied: colours times alpha, and alpha, in [0, 1].
        resolution: side of the result, pixels.
        foreground_ratio: the larger side of the object's bounding box over the side of the square, in (0, 1]; None
            keeps the picture's own framing (its middle, and its larger side as the square's).
        background: grey level in [0, 1] to composite on.

    Raises:
        UserError: if the ratio is outside (0, 1].
    """
    if foreground_ratio is None:
        top, left = 0, 0
        bottom, right = premultiplied.shape[:2]
        side = float(max(bottom, right))
    else:
        if not 0 < foreground_ratio <= 1:
            raise UserError(f"the foreground ratio must be in (0, 1], not {foreground_ratio}")
        top, bottom, left, right = bounding_box(premultiplied[..., 3])
        side = max(bottom - top, right - left) / foreground_ratio
    step = side / resolution
    rows = _resampling(premultiplied.shape[0], (top + bottom - side) / 2, step, resolution)
    columns = _resampling(premultiplied.shape[1], (left + right - side) / 2, step, resolution)
    framed = np.einsum("yh,hwc->ywc", rows, premultiplied, optimize=True)
    framed = np.clip(np.einsum("xw,ywc->yxc", columns, framed, optimize=True), 0, 1).astype(np.float32)
    alpha = framed[..., 3]
    return Picture(np.clip(framed[..., :3] + (1 - alpha[..., None]) * np.float32(background), 0, 1), alpha)


def bounding_box(alpha: Float[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Returns (top, bottom, left, right) of what is visible, pixels, ends excluded.

    Raises:
        ValueError: if nothing is visible.
    """
    visible = alpha >= _FAINT
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        raise ValueError("nothing is visible")
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _resampling(size: int, start: float, step: float, count: int) -> Float[np.ndarray, "count size"]:
    """Returns the weights of `count` samples, `step` pixels apart from `start`, over a row of `size` pixels.

    Going down it is the overlap of intervals (an exact area average), going up linear interpolation. Weights sum to
    1 inside the row and to less where a sample sticks out: outside is transparent.
    """
    pixels = np.arange(size, dtype=np.float64)
    begin = start + step * np.arange(count)[:, None]
    if step >= 1:
        weights = np.clip(np.minimum(begin + step, pixels + 1) - np.maximum(begin, pixels), 0, None) / step
    else:
        weights = np.clip(1 - np.abs(begin + step / 2 - (pixels + 0.5)), 0, None)
    return weights.astype(np.float32)


def _rgba(picture: Image.Image) -> UInt8[np.ndarray, "h w 4"]:
    """Converts any mode; Pillow itself would clip 16-bit grey at 255."""
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64)
        grey = np.clip(np.round(deep / 257), 0, 255).astype(np.uint8)
        alpha = np.where(deep == picture.info.get("transparency", -1), 0, 255).astype(np.uint8)
        return np.stack([grey, grey, grey, alpha], axis=-1)
    return np.array(picture.convert("RGBA"))


def _pixels_of_array(array: np.ndarray) -> UInt8[np.ndarray, "h w 4"]:
    if array.ndim != 3 or array.shape[-1] not in (3, 4) or 0 in array.shape:
        raise DataError(f"a picture given as an array is [h, w, 3 or 4], not {list(array.shape)}")
    if np.issubdtype(array.dtype, np.floating):
        if not np.all((array >= 0) & (array <= 1)):
            raise DataError("a picture given as floats has values in [0, 1]")
        array = np.round(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise DataError(f"a picture given as an array is uint8 or floats, not {array.dtype}")
    if array.shape[-1] == 4:
        return array
    return np.concatenate([array, np.full_like(array[..., :1], 255)], axis=-1)
