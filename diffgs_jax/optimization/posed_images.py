"""The images of a fit: bytes at working resolution, with their cameras, within a stated memory."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, UInt8

from diffgs_jax.data.maps import decode_depth
from diffgs_jax.data.record_views import decode_views
from diffgs_jax.data.records import Record
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import shown_size
from diffgs_jax.files.images import open_image
from diffgs_jax.geometry import Cameras

_LEAST_SIDE = 11
"""Pixels: SSIM's window."""


class PosedImages(NamedTuple):
    """Images of one object or scene, all of one size.

    Attributes:
        pixels: `[n, s, s, 4]` RGBA, colours multiplied by their alpha.
        cameras: `[n]`.
        depths: `[n, s, s]` planar z, world units, NaN where it is not known; None if it is nowhere.
    """

    pixels: UInt8[Array | np.ndarray, "n s s 4"]
    cameras: Cameras
    depths: Float[Array | np.ndarray, "n s s"] | None = None

    @property
    def side(self) -> int:
        """Height and width, pixels."""
        return self.pixels.shape[1]

    @property
    def is_cut_out(self) -> bool:
        """Whether the background is transparent in every image."""
        return bool((np.asarray(self.pixels)[..., 3].min(axis=(1, 2)) < 128).all())


def decode_images(record: Record, resolution: int | None = None, memory: float = 4.0) -> PosedImages:
    """Returns the images of a record.

    Args:
        record: checked (`validate_record`).
        resolution: height and width to bring them to, pixels; that of the first one by default.
        memory: what the images may take, in 1e9 bytes.

    Raises:
        UserError: if they take more, or are smaller than SSIM's window; before any is decoded.
        DataError: if one cannot be decoded, or the cameras are not finite.
    """
    count = len(record.images)
    if not count:
        raise DataError(f"record {record.uid} has no images")
    if not all(np.isfinite(np.asarray(leaf)).all() for leaf in record.cameras):
        raise DataError(f"record {record.uid} has a camera that is not finite")
    side = resolution
    if side is None:
        try:
            side = min(open_image(record.images[0], "it").size)
        except DataError as error:
            raise DataError(f"record {record.uid}, view 0: {error}") from None
    if side < _LEAST_SIDE:
        raise UserError(f"images must be at least {_LEAST_SIDE} pixels wide, not {side}")
    pixel = 8 if "depth" in record.maps else 4
    needed = count * side * side * pixel
    if needed > memory * 1e9:
        fitting = math.isqrt(int(memory * 1e9 / (count * pixel)))
        raise UserError(
            f"{count} images of {side}×{side} take {shown_size(needed)}, more than --memory {memory:g} (GB): "
            f"raise it, or give --resolution {max(fitting, _LEAST_SIDE)} or less"
        )
    return PosedImages(decode_views(record, side), record.cameras, _depths(record, side))


def choose(images: PosedImages, selection: Sequence[int]) -> PosedImages:
    """Returns some of the images."""
    index = np.asarray(selection, int)
    cameras = Cameras(*(np.asarray(leaf)[index] for leaf in images.cameras))
    depths = None if images.depths is None else images.depths[index]
    return PosedImages(images.pixels[index], cameras, depths)


def scene_extent(cameras: Cameras) -> float:
    """Returns 1.1 times the largest distance of a camera from their mean, world units; 1 if all are in one place.

    The unit of position rates and size limits in 3DGS (Kerbl et al. 2023).
    """
    centers = np.asarray(cameras.camera_to_world, np.float64)[:, :3, 3]
    radius = float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).max())
    return 1.1 * radius if radius > 1e-9 else 1.0


def _depths(record: Record, side: int) -> Float[np.ndarray, "n s s"] | None:
    if "depth" not in record.maps:
        return None
    depth = decode_depth(record.maps["depth"])
    # The depth under each pixel's centre: a mean of two surfaces is neither.
    rows, columns = (((np.arange(side) + 0.5) * size / side).astype(int) for size in depth.shape[1:])
    return depth[:, rows[:, None], columns[None, :]]
