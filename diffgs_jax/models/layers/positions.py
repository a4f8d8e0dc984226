"""Where a token lies on a grid, as sines and cosines."""

import numpy as np
from jaxtyping import Float, Float32


def grid_positions(
    width: int, rows: Float[np.ndarray, "rows"], columns: Float[np.ndarray, "columns"]
) -> Float32[np.ndarray, "rows columns {width}"]:
    """Returns sinusoidal embeddings of a grid's cells (PixArt-α's, which Stable Diffusion 3 has too).

    The first half of the features is of the column, the second of the row; each half is sines, then cosines.

    Args:
        width: features, a multiple of 4.
        rows: coordinate of each row.
        columns: coordinate of each column.
    """
    frequencies = 10_000.0 ** -(np.arange(width // 4) / (width / 4))

    def embedded(coordinates: np.ndarray) -> np.ndarray:
        angles = coordinates[:, None] * frequencies[None]
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)

    shape = (len(rows), len(columns), width // 2)
    halves = (np.broadcast_to(embedded(columns)[None], shape), np.broadcast_to(embedded(rows)[:, None], shape))
    return np.concatenate(halves, axis=-1).astype(np.float32)
