"""Published pictures as arrays, and arrays as a record's views."""

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.data.images import encode_webp
from diffgs_jax.errors import DataError
from diffgs_jax.files.images import decode_image, open_image


def decode_pixels(encoded: bytes, name: str, *, upright: bool = False) -> UInt8[np.ndarray, "h w c"]:
    """Returns RGB, or RGBA where the picture has any transparency to tell, in sRGB.

    Args:
        encoded: any format that `files.images` reads.
        name: for the message.
        upright: turn it as its EXIF block says.

    Raises:
        DataError: if it cannot be decoded.
    """
    try:
        return np.array(decode_image(encoded, "it", upright=upright))
    except DataError as error:
        raise DataError(f"{name} is an unreadable picture: {error}") from None


def decode_mask(encoded: bytes, name: str, *, upright: bool = False) -> UInt8[np.ndarray, "h w"]:
    """Returns a mask from 0 to 255, soft where the file's is; its largest value counts as white, as do palette entries.

    Args:
        encoded: grey of 1, 8 or 16 bits, a palette whose entry 0 is outside, an alpha channel, or colours.
        name: for the message.
        upright: turn it as its EXIF block says.

    Raises:
        DataError: if it cannot be decoded.
    """
    try:
        image = open_image(encoded, "it", upright=upright)
    except DataError as error:
        raise DataError(f"{name} is an unreadable mask: {error}") from None
    if image.mode == "P":
        return np.where(np.asarray(image) > 0, 255, 0).astype(np.uint8)
    if image.mode != "I;16":  # grey of 16 bits stays as it is
        image = image.getchannel("A") if "A" in image.getbands() else image.convert("L")
    values = np.asarray(image)
    return np.rint(values * (255 / max(1, int(values.max(initial=0))))).astype(np.uint8)


def encode_pixels(pixels: UInt8[np.ndarray, "s s c"], quality: int) -> bytes:
    """Returns a JPEG file of RGB, or a WebP file of RGBA with its alpha kept exactly."""
    if pixels.shape[-1] == 4:
        return encode_webp(pixels, quality=quality)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def shrink(pixels: UInt8[np.ndarray, "s s c"], size: int) -> UInt8[np.ndarray, "t t c"]:
    """Returns a square picture at `size`, by area; as it is where it is no larger, or where `size` is 0."""
    if not 0 < size < pixels.shape[0]:
        return pixels
    if pixels.shape[-1] == 3:
        return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX))
    # RGBa is Pillow's name for colours multiplied by alpha, which average channel by channel.
    premultiplied = Image.fromarray(pixels).convert("RGBa").resize((size, size), Image.Resampling.BOX)
    return np.asarray(premultiplied.convert("RGBA"))


def shrink_map(values: Float[np.ndarray, "s s *c"], size: int) -> Float[np.ndarray, "t t *c"]:
    """Returns a map at `size` by its nearest values, which mixes no two surfaces."""
    side = values.shape[0]
    if not 0 < size < side:
        return values
    index = ((np.arange(size) + 0.5) * side / size).astype(int)
    return values[np.ix_(index, index)]


def center_crop(pixels: np.ndarray, intrinsics: Float[np.ndarray, "4"]) -> tuple[np.ndarray, Float[np.ndarray, "4"]]:
    """Returns the largest square in the middle of a picture or map, and its intrinsics.

    Args:
        pixels: `[h, w]` or `[h, w, c]`.
        intrinsics: as fractions of width and height.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    fx, fy, cx, cy = np.asarray(intrinsics, np.float64)
    cropped = np.asarray(
        [fx * width / side, fy * height / side, (cx * width - left) / side, (cy * height - top) / side]
    )
    return pixels[top : top + side, left : left + side], cropped
