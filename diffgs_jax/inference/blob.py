"""A picture of nothing in particular to start from, so that samples get one object on white (Instant3D)."""

import numpy as np
from jaxtyping import Float32


def blob_image(
    resolution: int, spread: float, background: float = 0.0
) -> Float32[np.ndarray, "{resolution} {resolution} 3"]:
    """Returns a dark blob on white, in [0, 1] (Li et al. 2024, "Instant3D", section 3.2, as DiffSplat has it).

    It is drawn at twice the size and averaged; its middle is half a drawn pixel right of and below the image's.

    Args:
        resolution: height and width, pixels.
        spread: standard deviation of the blob, as a fraction of the side; above 0.
        background: how much darker than white all of it is, in [0, 1].
    """
    side = 2 * resolution
    offsets = (np.arange(side) - side / 2) / (spread * side)
    blob = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / 2)
    image = 1.0 - np.clip(blob + background, 0.0, 1.0)
    small = image.reshape(resolution, 2, resolution, 2).mean(axis=(1, 3))
    return np.repeat(small[..., None], 3, axis=-1).astype(np.float32)
