"""Encoded pictures in, arrays out, and back."""

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.errors import DataError


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


def decode_premultiplied(encoded: bytes, resolution: int | None = None) -> UInt8[np.ndarray, "s s 4"]:
    """Returns RGBA with colours multiplied by their alpha, so that averages and composites are plain sums.

    Args:
        encoded: a square picture of any format Pillow reads, with or without alpha.
        resolution: size to bring it to: by area where that is smaller, bilinearly where it is larger.

    Raises:
        DataError: if it is not a square picture.
    """
    try:
        # RGBa is Pillow's name for colours multiplied by alpha.
        picture = Image.open(io.BytesIO(encoded)).convert("RGBA").convert("RGBa")
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(f"a view cannot be decoded: {error}") from None
    if picture.width != picture.height:
        raise DataError(f"a view is {picture.width}×{picture.height}; views must be square")
    if resolution is not None and resolution != picture.width:
        smaller = resolution < picture.width
        resampling = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
        picture = picture.resize((resolution, resolution), resampling)
    return np.array(picture)


def composite(
    premultiplied: UInt8[np.ndarray, "*batch 4"], background: float
) -> tuple[Float[np.ndarray, "*batch 3"], Float[np.ndarray, "*batch"]]:
    """Returns float32 colours in [0, 1] on a grey background, and alphas in [0, 1].

    Args:
        premultiplied: of `decode_premultiplied`, any leading axes.
        background: grey level in [0, 1].
    """
    values = premultiplied.astype(np.float32) * np.float32(1 / 255)
    alphas = values[..., 3]
    colors = values[..., :3] + np.float32(background) * (1 - alphas[..., None])
    return np.clip(colors, 0.0, 1.0), np.ascontiguousarray(alphas)
