"""The one place where pictures are decoded: PNG, JPEG, WebP, GIF and BMP, in bounded memory, as upright 8-bit sRGB.

Formats. A file's first bytes choose among these five; whatever its name says, no other decoder is asked. Of an
animation the first picture is read. Left out on purpose: TIFF and AVIF (their directories can claim the same bytes over
and over, and decoders read them on opening), PostScript (it is a program), and the sixty others that Pillow knows.

Limits. A file has at most 128 MiB and 2²⁶ pixels (8192 × 8192); both are looked up before anything is decoded. Decoding
the worst one takes some 1.3 GB.

Colours. An embedded ICC profile is applied by littleCMS (perceptual intent), so that a photograph in Display P3 or
Adobe RGB becomes the sRGB that everything here takes pictures for. A profile that does not belong to the picture's kind
of pixels, or that littleCMS does not understand, is ignored, as the PNG specification asks. Grey of 16 bits is scaled
by 1/257; of colours of 16 bits the upper eight are taken, as by libpng. CMYK without a profile becomes RGB by the plain
formula.

Orientation. A picture is turned as its EXIF block says, since cameras store portraits lying.
"""

import functools
import io
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from diffgs_jax.errors import DataError
from diffgs_jax.files._image_containers import exif_orientation, opened_container
from diffgs_jax.files.opening import one_line, shown_size

IMAGE_BYTES = 128 * 2**20
"""The largest file of a picture that is read."""

IMAGE_PIXELS = 2**26
"""The most pixels that are decoded: 8192 × 8192."""

# By themselves: `Image.open` would look for several pictures in a JPEG, and warn of sizes that are refused here anyway.
_DECODERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
_CODECS = {"raw", "zip", "jpeg", "gif"}  # run lengths of BMP go byte by byte through Python, which takes minutes
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what undoes each orientation
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # ICC's names
_CLASSES = ("scnr", "mntr", "prtr", "spac")  # profiles of devices and spaces


def open_image(encoded: bytes, name: str, *, upright: bool = True) -> Image.Image:
    """Decodes a picture and leaves its numbers as they are stored, for masks and maps.

    Args:
        encoded: a PNG, JPEG, WebP, GIF or BMP file.
        name: for messages.
        upright: turn it as its EXIF block says.

    Returns:
        A loaded picture of whatever mode the file has; its ICC profile is in `info`, and not applied.

    Raises:
        DataError: if it is of another kind, damaged, or too large.
    """
    image, orientation = _opened(encoded, name)
    try:
        image.load()
        return image.transpose(_TURNS[orientation]) if upright and orientation in _TURNS else image
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(f"{name} is damaged and cannot be decoded: {one_line(error)}") from None


def decode_image(encoded: bytes, name: str, *, upright: bool = True) -> Image.Image:
    """Decodes a picture of any mode to 8-bit sRGB, `RGB`, or `RGBA` where anything of it may be transparent.

    Colours are not premultiplied.

    Args:
        encoded: a PNG, JPEG, WebP, GIF or BMP file.
        name: for messages.
        upright: turn it as its EXIF block says; cameras of COLMAP belong to pictures as they are stored.

    Raises:
        DataError: if it is of another kind, damaged, or too large.
    """
    image = open_image(encoded, name, upright=upright)
    try:
        return _colors(image, name)
    except (ValueError, OSError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} is damaged and cannot be decoded: {one_line(error)}") from None


def image_size(encoded: bytes, name: str, *, upright: bool = True) -> tuple[int, int]:
    """Returns a picture's (width, height) without decoding it.

    Raises:
        DataError: if it is of another kind, damaged in front of its pixels, or too large.
    """
    image, orientation = _opened(encoded, name)
    width, height = image.size
    return (height, width) if upright and orientation >= 5 else (width, height)


def image_orientation(encoded: bytes, name: str) -> int:
    """Returns how a picture is stored, 1 to 8 as EXIF counts (tag 0x0112); 1 is upright.

    Raises:
        DataError: if it is of another kind, damaged in front of its pixels, or too large.
    """
    return _opened(encoded, name)[1]


def _opened(encoded: bytes, name: str) -> tuple[Image.Image, int]:
    if len(encoded) > IMAGE_BYTES:
        limit = shown_size(IMAGE_BYTES)
        raise DataError(f"{name} is too large: {shown_size(len(encoded))}, and at most {limit} are read")
    format_, content, orientation = opened_container(encoded, name)
    try:
        image = _DECODERS[format_](io.BytesIO(content))
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(f"{name} is a damaged or unusual {format_}: {one_line(error)}") from None
    width, height = image.size
    if width * height > IMAGE_PIXELS:
        limit = f"at most {IMAGE_PIXELS} pixels are decoded"
        raise DataError(f"{name} has too many pixels: {width}×{height}, and {limit}; make it smaller first")
    if any(tile[0] not in _CODECS for tile in getattr(image, "tile", ())):
        raise DataError(f"{name} is an unusual {format_}, packed in a way that is not read")
    return image, exif_orientation(image.info.get("exif")) if orientation is None else orientation


def _colors(image: Image.Image, name: str) -> Image.Image:
    """Returns 8-bit sRGB of a picture of any mode that the five formats have."""
    profile = image.info.get("icc_profile") or b""
    if image.mode == "I;16":
        return _of_deep_grey(image, profile)
    is_transparent = "A" in image.getbands() or "transparency" in image.info
    if image.mode in ("1", "L", "LA"):
        image = image.convert("LA" if is_transparent else "L")
        grey, alpha = image.getchannel("L"), image.getchannel("A") if is_transparent else None
        ramp = _grey_ramp(profile)
        colors = Image.merge("RGB", [grey if ramp is None else grey.point(ramp[:, i].tolist()) for i in range(3)])
    elif image.mode in ("P", "PA", "RGB", "RGBA"):
        mode = "RGBA" if is_transparent else "RGB"
        image = image if image.mode == mode and "transparency" not in image.info else image.convert(mode)
        transform = _transform(profile, "RGB")
        if transform is None:
            return image
        alpha = image.getchannel("A") if is_transparent else None
        colors = image.convert("RGB")
        ImageCms.applyTransform(colors, transform, inPlace=True)  # the largest pictures take 270 MB a copy
    elif image.mode == "CMYK":
        alpha, transform = None, _transform(profile, "CMYK")
        colors = image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform)
    else:
        raise DataError(f"{name} is an unusual picture, of the mode {image.mode}")
    if colors is None:
        raise ValueError("littleCMS gave no picture")
    if alpha is not None:
        colors.putalpha(alpha)
    return colors


def _of_deep_grey(image: Image.Image, profile: bytes) -> Image.Image:
    """Returns grey of 16 bits in eight, through a table with an entry for every value."""
    deep = np.asarray(image)
    levels = np.arange(65536) / 257.0
    ramp = _grey_ramp(profile)
    columns = [levels if ramp is None else np.interp(levels, np.arange(256), ramp[:, i]) for i in range(3)]
    channels = [np.rint(column).astype(np.uint8)[deep] for column in columns]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        channels.append(np.where(deep == transparent, 0, 255).astype(np.uint8))
    return Image.merge("RGB" if len(channels) == 3 else "RGBA", [Image.fromarray(channel) for channel in channels])


@functools.lru_cache(maxsize=8)
def _grey_ramp(profile: bytes) -> UInt8[np.ndarray, "256 3"] | None:
    """Returns the sRGB colours of all levels of grey, or None where they are the levels themselves."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    transform = _transform(profile, "L")
    if transform is None:  # grey pixels may have a profile of colours: equal red, green and blue
        transform, ramp = _transform(profile, "RGB"), ramp.convert("RGB")
    turned = None if transform is None else ImageCms.applyTransform(ramp, transform)
    return None if turned is None else np.asarray(turned)[0]


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Returns littleCMS's way from a profile to sRGB, or None if it has none from pixels of this mode."""
    if not profile:
        return None
    try:
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        about = theirs.profile
        if about.xcolor_space != _SPACES[mode] or about.device_class not in _CLASSES:
            return None
        # For a table of grey every value is computed; the shortcut for many pixels is coarse where it is dark.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        return ImageCms.buildTransform(theirs, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
