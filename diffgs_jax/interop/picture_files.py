"""Picture files of any kind as RGBA bytes, upright."""

import functools
import os
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from diffgs_jax.errors import DataError, UserError

PICTURE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".jp2", ".psd", ".svg", ".jxl", ".ico"),  # cannot be read, which is then said of each
)
"""What a folder's pictures are told by, in lower case."""

_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_NAMES = "PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF"
_OURS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_OTHERS = {b"heic": "HEIC", b"heix": "HEIC", b"heif": "HEIF", b"mif1": "HEIF", b"msf1": "HEIF"}


def read_picture(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w 4"]:
    """Reads a picture of any mode as RGBA bytes, turned upright by its EXIF orientation.

    Colours are not premultiplied. Grey, palette, CMYK and 16-bit files become 8-bit RGBA; of an animation or of pages
    the first is read. PNG, JPEG, WebP, GIF, BMP, TIFF and, where Pillow was built with it, AVIF.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is of another kind, damaged, or too large to be decoded safely.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read the picture {path}: {error.strerror or error}") from error
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the error at twice the size is enough
        try:
            with Image.open(file, formats=_formats()) as picture:
                picture.load()
                return _rgba(ImageOps.exif_transpose(picture))
        except Image.UnidentifiedImageError as error:
            raise DataError(f"{path} is {_kind(file)}; give a {_NAMES} picture") from error
        except Image.DecompressionBombError as error:
            raise DataError(f"{path} has too many pixels; make it smaller first") from error
        # What Pillow's decoders let out when a file is damaged; none of it tells the user more than that.
        except (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, struct.error) as error:
            raise DataError(f"{path} is damaged and cannot be decoded ({error})") from error


def picture_array(array: np.ndarray) -> UInt8[np.ndarray, "h w 4"]:
    """Returns a picture that came as an array, uint8 or floats in [0, 1], as RGBA bytes.

    Raises:
        DataError: if it is not `[h, w, 3 or 4]`, or of other values.
    """
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


@functools.cache
def _formats() -> list[str]:
    """Returns what this Pillow was built with."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _rgba(picture: Image.Image) -> UInt8[np.ndarray, "h w 4"]:
    """Converts any mode; Pillow itself would clip deep grey at 255."""
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64)
        grey = np.clip(np.round(deep / 257), 0, 255).astype(np.uint8)
        alpha = np.where(deep == picture.info.get("transparency", -1), 0, 255).astype(np.uint8)
        return np.stack([grey, grey, grey, alpha], axis=-1)
    if picture.mode == "F":  # a TIFF of floats: grey in [0, 1]
        grey = np.clip(np.round(np.nan_to_num(np.asarray(picture)) * 255), 0, 255).astype(np.uint8)
        return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    return np.array(picture.convert("RGBA"))


def _kind(file: BinaryIO) -> str:
    """Says what a file is instead, as far as its first bytes tell."""
    file.seek(0)
    head = file.read(512)
    if not head:
        return "empty"
    if head.startswith(_OURS):
        return "damaged or an unusual picture"
    if head[4:8] == b"ftyp" and head[8:12] in _OTHERS:
        return f"a {_OTHERS[head[8:12]]} file"
    if head.lstrip()[:5] in (b"<?xml", b"<svg "):
        return "an SVG or XML file"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return "of another kind"
    return "of another kind" if b"\0" in head else "a text file"
