"""Depth and normals of a record's views as PNG files, and back.

Both are lossless in what they store, so their error is that of rounding alone: half a `scale` for depth, and
1/255 in every component of a normal (before it is made unit length again).
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from diffgs_jax.data.records import EncodedMap
from diffgs_jax.errors import DataError
from diffgs_jax.files.images import open_image

_LARGEST_CODE = 65535


def encode_depth(depth: Float[np.ndarray, "n h w"], *, least_step: float = 0.0) -> EncodedMap:
    """Returns depth as 16-bit PNG files, `scale` world units a step, with one scale for all views.

    Args:
        depth: planar z (along the camera's axis, not the ray), world units. What is not finite or not positive is
            stored as invalid.
        least_step: `scale` is not smaller than this; coarse steps make small files.
    """
    depth = np.asarray(depth, np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    largest = float(depth[valid].max()) if valid.any() else 0.0
    scale = max(largest / _LARGEST_CODE, least_step) if largest else 1.0
    # Code 0 is taken, so that what is nearer than half a step is stored as one step.
    codes = np.clip(np.rint(np.where(valid, depth, 0.0) / scale), 1, _LARGEST_CODE)
    codes = np.where(valid, codes, 0).astype(np.uint16)
    return EncodedMap([_encode(view) for view in codes], {"kind": "planar z", "scale": scale, "invalid": 0})


def decode_depth(encoded: EncodedMap, views: Sequence[int] | None = None) -> Float[np.ndarray, "v h w"]:
    """Returns planar z in world units, float32, NaN where there is none.

    Args:
        encoded: of `encode_depth`.
        views: which of them; all by default.

    Raises:
        DataError: if it is not depth, or an image cannot be decoded.
    """
    scale, invalid = encoded.meaning.get("scale"), encoded.meaning.get("invalid")
    if encoded.meaning.get("kind") != "planar z" or not isinstance(scale, int | float) or not isinstance(invalid, int):
        raise DataError(f"no map of planar depth: {encoded.meaning}")
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(f"a map of depth has the scale {scale}; it must be positive")
    codes = _decode(encoded, views, "depth", dimensions=2)
    return np.where(codes == invalid, np.nan, codes * np.float64(scale)).astype(np.float32)


def encode_normals(normals: Float[np.ndarray, "n h w 3"]) -> EncodedMap:
    """Returns normals as 8-bit RGB PNG files that hold n·0.5 + 0.5.

    Args:
        normals: unit vectors in world axes. What is not finite or far from unit length is stored as invalid, (0, 0, 0),
            which no unit vector is stored as.
    """
    normals = np.asarray(normals, np.float64)
    length = np.linalg.norm(normals, axis=-1)
    valid = np.isfinite(length) & (np.abs(length - 1) < 0.1)
    unit = np.where(valid[..., None], normals, 0.0) / np.where(valid, length, 1.0)[..., None]
    codes = np.where(valid[..., None], np.rint(255 * (unit * 0.5 + 0.5)), 0).astype(np.uint8)
    return EncodedMap([_encode(view) for view in codes], {"kind": "normal", "axes": "world"})


def decode_normals(encoded: EncodedMap, views: Sequence[int] | None = None) -> Float[np.ndarray, "v h w 3"]:
    """Returns unit normals in world axes, float32, NaN where there is none.

    Args:
        encoded: of `encode_normals`.
        views: which of them; all by default.

    Raises:
        DataError: if they are not normals in world axes, or an image cannot be decoded.
    """
    return normals_from_codes(decode_normal_codes(encoded, views))


def decode_normal_codes(encoded: EncodedMap, views: Sequence[int] | None = None) -> UInt8[np.ndarray, "v h w 3"]:
    """Returns normals as stored: n·0.5 + 0.5 in 255 steps, (0, 0, 0) where there is none; a quarter of the memory.

    Args:
        encoded: of `encode_normals`.
        views: which of them; all by default.

    Raises:
        DataError: if they are not normals in world axes, or an image cannot be decoded.
    """
    if encoded.meaning.get("kind") != "normal" or encoded.meaning.get("axes") != "world":
        raise DataError(f"no map of normals in world axes: {encoded.meaning}")
    return _decode(encoded, views, "normals", dimensions=3).astype(np.uint8)


def normals_from_codes(codes: UInt8[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Returns unit normals in world axes, float32, NaN where there is none.

    Args:
        codes: of `decode_normal_codes`.
    """
    normals = codes.astype(np.float32) / np.float32(255 / 2) - 1
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    return np.where((codes == 0).all(axis=-1, keepdims=True), np.nan, normals).astype(np.float32)


def _encode(codes: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(codes).save(file, "PNG")
    return file.getvalue()


def _decode(encoded: EncodedMap, views: Sequence[int] | None, what: str, *, dimensions: int) -> np.ndarray:
    """Returns the codes of the chosen views, float32 (which holds every 16-bit integer exactly)."""
    images = []
    for view in range(len(encoded.views)) if views is None else views:
        try:
            image = open_image(encoded.views[view], "it", upright=False)
        except DataError as error:
            raise DataError(f"the {what} of view {view} cannot be decoded: {error}") from None
        # Pillow reads 16-bit grey as I;16; a palette or RGBA image was not written by `_encode`.
        images.append(np.asarray(image if dimensions == 2 else image.convert("RGB"), np.float32))
        if images[-1].ndim != dimensions or images[-1].shape != images[0].shape:
            raise DataError(f"the {what} of view {view} have the wrong shape {images[-1].shape}")
    return np.stack(images)
