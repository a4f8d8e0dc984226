"""A film of the views on their way out of the noise."""

import math

import numpy as np
from jaxtyping import Float, UInt8

_TILE, _GAP = 128, 4  # least side of a view, and what is between two, pixels
_FRAMES_EACH, _FRAMES_LAST = 3, 36


def render_trajectory(
    noisy: Float[np.ndarray, "steps v h w 3"], predicted: Float[np.ndarray, "steps v h w 3"]
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Returns frames with the predicted views above the noisy ones; the last step stays for a while.

    Small views are enlarged a whole number of times without smoothing, so that their pixels can be seen.

    Args:
        noisy: the views after each step, in [0, 1] up to noise.
        predicted: the clean views that each step predicted.
    """
    zoom = max(1, math.ceil(_TILE / max(noisy.shape[2:4])))
    rows = np.stack([predicted, noisy], axis=1, dtype=np.float32)
    rows = np.round(255 * rows.clip(0, 1)).astype(np.uint8)
    rows = rows.repeat(zoom, axis=3).repeat(zoom, axis=4)
    margins = [(0, 0), (0, 0), (0, 0), (_GAP, _GAP), (_GAP, _GAP), (0, 0)]
    tiles = np.pad(rows, margins, constant_values=236)
    steps, two, views, height, width, _ = tiles.shape
    frames = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(steps, two * height, views * width, 3)
    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]  # as films need
    times = np.full(steps, _FRAMES_EACH)
    times[-1] = _FRAMES_LAST
    return np.repeat(frames, times, axis=0)
