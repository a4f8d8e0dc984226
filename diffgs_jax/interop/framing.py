"""A user's picture becomes a condition view: the object alone, centred, about as large as in the training views.

The steps work on premultiplied colours, the only kind that can be averaged: a pixel is (colour·alpha, alpha), so
compositing on a background B is `premultiplied + (1 − alpha)·B`.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import FOREGROUND_RATIO, TURNTABLE_RATIO
from diffgs_jax.interop.image_files import image_array, read_shrunk_image
from diffgs_jax.interop.matting import FAINT, Matting, isolate_object

_LARGEST_SIDE = 2048  # what is larger is averaged down while it still is bytes


class FramedImage(NamedTuple):
    """An object in front of a plain background.

    Attributes:
        image: `[h, w, 3]` in [0, 1], composited on the background, white unless asked otherwise.
        alpha: `[h, w]` the object's coverage in [0, 1].
    """

    image: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]


def load_framed(
    source: str | os.PathLike[str] | np.ndarray,
    *,
    resolution: int,
    foreground_ratio: float | None = FOREGROUND_RATIO,
    background: float = 1.0,
    smallest_side: int = 1,
    matting: Matting = "auto",
    matting_model: str | os.PathLike[str] | None = None,
) -> FramedImage:
    """Reads a picture, isolates its object and frames it: `load_isolated`, `frame_object`.

    Args:
        source: see `load_isolated`.
        resolution: side of the square result, pixels.
        foreground_ratio: see `frame_object`.
        background: grey level in [0, 1] to composite on.
        smallest_side: see `load_isolated`.
        matting: see `load_isolated`.
        matting_model: see `load_isolated`.

    Raises:
        UserError: if the file is missing or cannot be read, or the matting is not to be had.
        DataError: if it is not a picture, too small, empty, or its object cannot be told from its background.
    """
    premultiplied = load_isolated(source, smallest_side=smallest_side, matting=matting, matting_model=matting_model)
    return frame_object(premultiplied, resolution=resolution, foreground_ratio=foreground_ratio, background=background)


def load_isolated(
    source: str | os.PathLike[str] | np.ndarray,
    *,
    smallest_side: int = 1,
    matting: Matting = "auto",
    matting_model: str | os.PathLike[str] | None = None,
) -> Float[np.ndarray, "h w 4"]:
    """Reads a picture and isolates its object: `read_image`, `isolate_object`.

    Args:
        source: the path of a picture; or pixels `[h, w, 3 or 4]`, uint8 or floats in [0, 1].
        smallest_side: pixels; a picture or an object smaller than this is refused. The model's patch.
        matting: who tells the object from its background; see `Matting`.
        matting_model: the ONNX file of "isnet", which "auto" falls back on.

    Returns:
        Colours times alpha, and alpha, in [0, 1].

    Raises:
        UserError: if the file is missing or cannot be read, or the matting is not to be had.
        DataError: if it is not a picture, too small, empty, or its object cannot be told from its background.
    """
    name, pixels, (height, width) = _read(source)
    shrink = -(-max(height, width) // _LARGEST_SIDE)
    too_small = f"smaller than a patch of the model ({smallest_side}×{smallest_side}); give a larger picture"
    if min(height, width) < smallest_side:
        raise DataError(f"{name} is {width}×{height} pixels, {too_small}")
    premultiplied = isolate_object(pixels, name=name, matting=matting, matting_model=matting_model)
    top, bottom, left, right = visible_bounds(premultiplied[..., 3])
    if shrink * max(bottom - top, right - left) < smallest_side:
        raise DataError(f"the object in {name} is {right - left}×{bottom - top} pixels, {too_small}")
    return premultiplied


def frame_turntable(
    pictures: Sequence[Float[np.ndarray, "_ _ 4"]],
    *,
    resolution: int,
    foreground_ratio: float = TURNTABLE_RATIO,
    background: float = 1.0,
) -> list[FramedImage]:
    """Frames pictures of one object from several sides as `frame_object` does, all by one scale.

    Pictures are taken to be of one camera: where they differ in size, as shrunk copies.

    Args:
        pictures: colours times alpha, and alpha, in [0, 1].
        resolution: side of the results, pixels.
        foreground_ratio: the larger side of the largest silhouette over the side of the square, in (0, 1].
        background: grey level in [0, 1] to composite on.

    Raises:
        UserError: if the ratio is outside (0, 1].
    """
    share = max(_larger_side(picture) / max(picture.shape[:2]) for picture in pictures)
    return [
        frame_object(
            picture,
            resolution=resolution,
            foreground_ratio=foreground_ratio,
            background=background,
            object_side=share * max(picture.shape[:2]),
        )
        for picture in pictures
    ]


def load_framed_mask(
    mask: str | os.PathLike[str],
    source: str | os.PathLike[str] | np.ndarray,
    isolated: Float[np.ndarray, "h w 4"],
    *,
    resolution: int,
    foreground_ratio: float | None = FOREGROUND_RATIO,
) -> Bool[np.ndarray, "{resolution} {resolution}"]:
    """Reads a mask of a picture and frames it as `frame_object` frames the picture; what lies beside it is False.

    Args:
        mask: the path of a picture; True where it is nearer to white than to black.
        source: the picture that it is of.
        isolated: of `load_isolated(source)`.
        resolution: as for the picture.
        foreground_ratio: as for the picture.

    Raises:
        UserError: if a file cannot be read, the mask is of another size, or nothing of it is white.
        DataError: if the mask is no picture.
    """
    name, _, size = _read(source)
    mask_name, marks, mask_size = _read(mask)
    if mask_size != size:
        raise UserError(
            f"the mask {mask_name} is {mask_size[1]}×{mask_size[0]} pixels, and {name} is {size[1]}×{size[0]}: make "
            "them equal"
        )
    # Not multiplied by the object's coverage, which says where the square is and nothing else
    marks = np.repeat(marks[..., :3].mean(axis=-1, keepdims=True, dtype=np.float32) / 255, 3, axis=-1)
    marked = np.concatenate([marks, isolated[..., 3:]], axis=-1)
    framed = frame_object(marked, resolution=resolution, foreground_ratio=foreground_ratio, background=0.0)
    found = framed.image[..., 0] > 0.5
    if not found.any():
        raise UserError(f"the mask {mask_name} is empty: what is to be made anew is white in it")
    return found


def _read(source: str | os.PathLike[str] | np.ndarray) -> tuple[str, np.ndarray, tuple[int, int]]:
    """Returns the name of a picture, its pixels, made fewer where they are very many, and the size that it had."""
    if not isinstance(source, np.ndarray):
        return (str(source), *read_shrunk_image(source, _LARGEST_SIDE))
    pixels = image_array(source)
    height, width = pixels.shape[:2]
    block = -(-max(height, width) // _LARGEST_SIDE)
    pixels = np.array(Image.fromarray(pixels).reduce(block)) if block > 1 else pixels
    return "the picture", pixels, (height, width)


def frame_object(
    premultiplied: Float[np.ndarray, "h w 4"],
    *,
    resolution: int,
    foreground_ratio: float | None = FOREGROUND_RATIO,
    background: float = 1.0,
    object_side: float | None = None,
) -> FramedImage:
    """Cuts out a square around the object, resizes it by averaging areas, and composites it.

    Recentring treats the picture as if the camera had looked straight at the object, that is, it moves the principal
    point: a slight perspective error for an object that was far from the middle.

    Args:
        premultiplied: colours times alpha, and alpha, in [0, 1].
        resolution: side of the result, pixels.
        foreground_ratio: the larger side of the object's bounding box over the side of the square, in (0, 1]; None
            keeps the picture's own framing (its middle, and its larger side as the square's).
        background: grey level in [0, 1] to composite on.
        object_side: what counts as the larger side of the bounding box, pixels; by default this picture's.

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
        top, bottom, left, right = visible_bounds(premultiplied[..., 3])
        side = (object_side or max(bottom - top, right - left)) / foreground_ratio
    step = side / resolution
    rows = _resampling(premultiplied.shape[0], (top + bottom - side) / 2, step, resolution)
    columns = _resampling(premultiplied.shape[1], (left + right - side) / 2, step, resolution)
    framed = np.einsum("yh,hwc->ywc", rows, premultiplied, optimize=True)
    framed = np.clip(np.einsum("xw,ywc->yxc", columns, framed, optimize=True), 0, 1).astype(np.float32)
    alpha = framed[..., 3]
    return FramedImage(np.clip(framed[..., :3] + (1 - alpha[..., None]) * np.float32(background), 0, 1), alpha)


def visible_bounds(alpha: Float[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Returns (top, bottom, left, right) of what is visible, pixels, ends excluded.

    Raises:
        ValueError: if nothing is visible.
    """
    visible = alpha >= FAINT
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not len(rows):
        raise ValueError("nothing is visible")
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _larger_side(picture: Float[np.ndarray, "h w 4"]) -> int:
    top, bottom, left, right = visible_bounds(picture[..., 3])
    return max(bottom - top, right - left)


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
