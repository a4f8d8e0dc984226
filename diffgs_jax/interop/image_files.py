"""Picture files of any kind as RGBA bytes, upright."""

import os

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diffgs_jax.errors import DataError
from diffgs_jax.files import read_regular, shown
from diffgs_jax.files.images import IMAGE_BYTES, decode_image

IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".psd", ".svg", ".jxl", ".ico"),  # refused, each by name
)
"""What a folder's pictures are told by, in lower case."""


def read_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w 4"]:
    """Reads a picture of any mode as RGBA bytes: sRGB, not premultiplied, turned upright by its EXIF orientation.

    PNG, JPEG, WebP, GIF and BMP, of at most 128 MiB and 8192 × 8192 pixels, whose decoding takes some 0.9 GB; see
    `diffgs_jax.files.images` for formats, colours and limits. Grey, palette, CMYK and 16-bit files become 8-bit RGBA;
    of an animation the first picture is read.

    Raises:
        UserError: if the file is missing or cannot be read.
        DataError: if it is of another kind, damaged, or too large.
    """
    return np.asarray(_decoded(path))


def read_shrunk_image(
    path: str | os.PathLike[str], largest_side: int
) -> tuple[UInt8[np.ndarray, "h w 4"], tuple[int, int]]:
    """Reads a picture as `read_image` does, and averages blocks of pixels, premultiplied, until it is small enough.

    Args:
        path: the file.
        largest_side: pixels.

    Returns:
        RGBA, and the height and width that it had.

    Raises:
        UserError: see `read_image`.
        DataError: see `read_image`.
    """
    image = _decoded(path)
    block = -(-max(image.size) // largest_side)
    return np.asarray(image.reduce(block) if block > 1 else image), (image.height, image.width)


def _decoded(path: str | os.PathLike[str]) -> Image.Image:
    image = decode_image(read_regular(path, limit=IMAGE_BYTES), shown(path))
    return image if image.mode == "RGBA" else image.convert("RGBA")


def image_array(array: np.ndarray) -> UInt8[np.ndarray, "h w 4"]:
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
