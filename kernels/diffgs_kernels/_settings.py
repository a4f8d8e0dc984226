"""What a kernel must know besides its arrays; all of it is static."""

import dataclasses

from jaxtyping import Array, Int32


@dataclasses.dataclass(frozen=True)
class Rules:
    """The thresholds of blending; the caller's, so that all of its paths share one definition."""

    alpha_min: float
    """Contributions fainter than this are skipped."""
    alpha_max: float
    """Alphas are clamped to this; less than one."""
    transmittance_min: float
    """Blending stops, for good, at the Gaussian that would take transmittance below this; more than zero."""


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How images are cut into tiles. Tiles are numbered row by row, image after image."""

    side: int
    """Side of a tile, pixels; a power of two."""
    columns: int
    """Tiles in a row of an image."""
    rows: int
    """Tiles in a column of an image."""

    def __post_init__(self):
        if self.side < 1 or self.side & (self.side - 1):
            raise ValueError(f"a tile's side must be a power of two, not {self.side}")

    @property
    def pixels(self) -> int:
        """Pixels in a tile."""
        return self.side * self.side

    def slot(self, tile: Int32[Array, ""], corner: Int32[Array, ""], width: Int32[Array, ""]) -> Int32[Array, ""]:
        """Returns which of all slots, ordered by owner, belongs to one of the tiles that a Gaussian touches.

        A Gaussian's slots are its rectangle of tiles, row by row.

        Args:
            tile: number of the tile among those of all images.
            corner: the slot that the image's first tile would have if the rectangle went on to there.
            width: tiles in a row of the rectangle.
        """
        local = tile % (self.columns * self.rows)
        return corner + local // self.columns * width + local % self.columns
