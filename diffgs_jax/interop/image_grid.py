"""Many images as one, and images as files."""

import os
from collections.abc import Mapping

import imageio.v3 as imageio
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from diffgs_jax.files import written_beside

_LABEL = 16  # pixels, the height of a line of names


def tile_images(grid: Float[np.ndarray, "rows columns h w 3"], gap: int = 2) -> Float[np.ndarray, "height width 3"]:
    """Lays images out in rows and columns with a white gap of `gap` pixels between them."""
    padded = np.pad(grid, ((0, 0), (0, 0), (gap, 0), (gap, 0), (0, 0)), constant_values=1.0)
    rows, columns, height, width, _ = padded.shape
    return padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)


def labelled_columns(
    groups: Mapping[str, Float[np.ndarray, "rows columns h w 3"]], gap: int = 2
) -> Float[np.ndarray, "height width 3"]:
    """Lays groups of columns out side by side, with the name of each above it; a name longer than its columns is cut.

    Args:
        groups: by name, images of equally many rows and of one size.
        gap: pixels between two images.
    """
    tiled = [tile_images(images, gap) for images in groups.values()]
    header = Image.new("RGB", (sum(part.shape[1] for part in tiled), _LABEL), "white")
    left = 0
    for name, part in zip(groups, tiled, strict=True):
        label = Image.new("RGB", (part.shape[1], _LABEL), "white")
        ImageDraw.Draw(label).text((gap, 1), name, fill="black", font=ImageFont.load_default(_LABEL - 5))
        header.paste(label, (left, 0))
        left += part.shape[1]
    return np.concatenate([np.asarray(header, np.float32) / 255, np.concatenate(tiled, axis=1)])


def square_grid(images: Float[np.ndarray, "n h w 3"], gap: int = 2) -> Float[np.ndarray, "height width 3"]:
    """Lays images out in a grid that is about as wide as high, row by row; what is left over is white."""
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    filled = np.ones((rows * columns, *images.shape[1:]), np.float32)
    filled[: len(images)] = images
    return tile_images(filled.reshape(rows, columns, *images.shape[1:]), gap)


def to_bytes(image: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Returns values in [0, 1] as bytes, rounded; what is outside is clipped."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def write_image(path: str | os.PathLike[str], image: Float[np.ndarray, "h w 3"]) -> None:
    """Writes an image as the suffix says, whole or not at all.

    Raises:
        UserError: if the file cannot be written.
    """
    with written_beside(path) as beside:
        imageio.imwrite(beside, to_bytes(np.asarray(image)))
