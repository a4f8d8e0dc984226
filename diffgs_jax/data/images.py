"""Encoded pictures in, arrays out, and back."""

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.errors import DataError
from diffgs_jax.files.images import decode_image

Images = list[UInt8[np.ndarray, "_ _ 4"]]
"""Square images, maybe of several sizes: RGBA, colours multiplied by their alpha."""


def encode_webp(rgba: UInt8[np.ndarray, "h w 4"], *, quality: int = 90, alpha_quality: int = 100) -> bytes:
    """Returns a WebP file, lossy in colour; the colour under fully transparent pixels is not kept.

    Args:
        rgba: straight alpha.
        quality: of the colours, 0 to 100.
        alpha_quality: of the alpha channel; 100 keeps it exactly.
    """
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "WEBP", quality=quality, alpha_quality=alpha_quality, method=4)
    return file.getvalue()


def decode_premultiplied(
    encoded: bytes, resolution: int | None = None, *, opaque: bool = False
) -> UInt8[np.ndarray, "s s 4"]:
    """Returns RGBA with colours multiplied by their alpha, so that averages and composites are plain sums.

    Args:
        encoded: a square picture of any format that `files.images` reads, with or without alpha.
        resolution: size to bring it to: by area where that is smaller, bilinearly where it is larger.
        opaque: take the colours as they are and alpha as 1 everywhere, whatever the file says.

    Raises:
        DataError: if it cannot be decoded or is not square.
    """
    try:
        image = decode_image(encoded, "it")
    except DataError as error:
        raise DataError(f"a view cannot be decoded: {error}") from None
    transparent = not opaque and image.mode == "RGBA"
    # RGBa is Pillow's name for colours multiplied by alpha. Without alpha it is a waste of time until the end.
    if image.mode != "RGB":
        image = image.convert("RGBa" if transparent else "RGB")
    if image.width != image.height:
        raise DataError(f"a view is {image.width}×{image.height}; views must be square")
    if resolution is not None:
        image = resize_premultiplied(image, resolution)
    return np.asarray(image if transparent else image.convert("RGBA"))


def resize_premultiplied(
    image: Image.Image, resolution: int, window: tuple[float, float, float] = (0.0, 0.0, 1.0)
) -> Image.Image:
    """Returns a square part of a square picture at another size: whole pictures by area where they become smaller.

    Args:
        image: RGB, or RGBa: colours multiplied by their alpha.
        resolution: height and width of the result, pixels.
        window: left, top and side of the part, as fractions of the picture; all of it by default.
    """
    left, top, side = (value * image.width for value in window)
    if (left, top, side) == (0.0, 0.0, resolution):
        return image
    # Pillow's box filter takes whole pixels, which would shift a window that begins between two by up to half a pixel.
    whole = (left, top, side) == (0.0, 0.0, image.width)
    resampling = Image.Resampling.BOX if whole and resolution < side else Image.Resampling.BILINEAR
    # A window's far edge may be past the picture's by rounding, which Pillow refuses.
    box = (left, top, min(left + side, image.width), min(top + side, image.height))
    return image.resize((resolution, resolution), resampling, box=box)


def composite(
    premultiplied: UInt8[np.ndarray, "*batch 4"],
    background: float | Float[np.ndarray, "3"],
    out: tuple[Float[np.ndarray, "*batch 3"], Float[np.ndarray, "*batch"]] | None = None,
) -> tuple[Float[np.ndarray, "*batch 3"], Float[np.ndarray, "*batch"]]:
    """Returns float32 colours in [0, 1] on a plain background, and alphas in [0, 1].

    Args:
        premultiplied: of `decode_premultiplied`, any leading axes.
        background: grey level or RGB, in [0, 1].
        out: arrays to write to and return, for the large batches that this makes.
    """
    shape = premultiplied.shape[:-1]
    if out is None:
        out = np.empty((*shape, 3), np.float32), np.empty(shape, np.float32)
    colors, alphas = out
    levels = np.broadcast_to(np.asarray(background, np.float32), 3)
    scale = np.float32(1 / 255)
    # One channel of one picture at a time: it stays in the processor's cache, and numpy's inner loops are long.
    images = np.ndindex(*shape[:-2])
    for image in images:
        pixels, color, alpha = premultiplied[image], colors[image], alphas[image]
        np.multiply(pixels[..., 3], scale, out=alpha)
        rest = 1 - alpha
        for channel, level in enumerate(levels):
            np.multiply(pixels[..., channel], scale, out=color[..., channel])
            color[..., channel] += level * rest
        np.minimum(color, 1.0, out=color)
    return colors, alphas
