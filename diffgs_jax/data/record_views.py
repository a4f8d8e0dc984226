"""The views of one record as arrays: decoded, resized, on a background."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.data.images import composite, decode_premultiplied
from diffgs_jax.data.records import Record
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras


def decode_views(
    record: Record, resolution: int, selection: Sequence[int] | None = None
) -> UInt8[np.ndarray, "n s s 4"]:
    """Returns the images as RGBA, colours multiplied by their alpha.

    Args:
        record: what to decode.
        resolution: height and width, pixels.
        selection: which views; all by default.

    Raises:
        DataError: if an image cannot be decoded or is not square, with the record's name and the view's number.
    """
    images = []
    for view in range(len(record.images)) if selection is None else selection:
        try:
            images.append(decode_premultiplied(record.images[view], resolution))
        except DataError as error:
            raise DataError(f"record {record.uid}, view {view}: {error}") from None
    return np.stack(images)


def load_views(
    record: Record, resolution: int, background: float = 1.0
) -> tuple[Float[np.ndarray, "n s s 3"], Float[np.ndarray, "n s s"], Cameras]:
    """Returns all the views of a record, as evaluation needs them: (images, alphas, cameras), float32.

    The world is as stored; `diffgs_jax.geometry.turn_to_azimuth_zero` turns it to a condition view.

    Args:
        record: one of `RecordStore`.
        resolution: height and width, pixels.
        background: grey level in [0, 1] under transparent pixels.

    Raises:
        DataError: if an image cannot be decoded.
    """
    images, alphas = composite(decode_views(record, resolution), background)
    return images, alphas, record.cameras
