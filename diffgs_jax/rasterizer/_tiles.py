"""The division of an image into square tiles, and images to tiles and back."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class TileGrid:
    """The tiles of one image; those at the right and bottom may hang over."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    tile: int
    """Side of a tile, pixels."""

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile)

    @property
    def rows(self) -> int:
        """Tiles in a column."""
        return -(-self.height // self.tile)

    @property
    def tiles(self) -> int:
        """Tiles in an image."""
        return self.columns * self.rows

    @property
    def pixels(self) -> int:
        """Pixels in a tile."""
        return self.tile * self.tile


def to_tiles(image: Float[Array, "images h w c"], grid: TileGrid, fill: float = 0.0) -> Float[Array, "tiles c pixels"]:
    """Cuts images into tiles; pixels that hang over the edge read `fill`."""
    images, height, width, channels = image.shape
    bottom, right = grid.rows * grid.tile - height, grid.columns * grid.tile - width
    image = jnp.pad(image, ((0, 0), (0, bottom), (0, right), (0, 0)), constant_values=fill)
    image = image.reshape(images, grid.rows, grid.tile, grid.columns, grid.tile, channels)
    return image.transpose(0, 1, 3, 5, 2, 4).reshape(images * grid.tiles, channels, grid.pixels)


def from_tiles(tiles: Float[Array, "tiles c pixels"], grid: TileGrid) -> Float[Array, "images h w c"]:
    """Puts images together again."""
    channels = tiles.shape[1]
    image = tiles.reshape(-1, grid.rows, grid.columns, channels, grid.tile, grid.tile)
    image = image.transpose(0, 1, 4, 2, 5, 3).reshape(-1, grid.rows * grid.tile, grid.columns * grid.tile, channels)
    return image[:, : grid.height, : grid.width]
