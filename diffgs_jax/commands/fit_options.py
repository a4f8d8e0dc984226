"""What the fitting command can be asked for."""

import dataclasses
import pathlib
from typing import Literal

from diffgs_jax.errors import UserError
from diffgs_jax.optimization.config import FitConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitOptions(FitConfig):
    """Fits Gaussians to posed images."""

    data: pathlib.Path
    """A transforms.json or its folder; a COLMAP folder (images, sparse/0, maybe masks); or a record store."""
    record: str | None = None
    """Which record of a store, or which capture of a folder of captures; needed where there are several."""
    out: pathlib.Path
    """Folder for what is made; created if need be."""
    resolution: int | None = None
    """Height and width the images are brought to, pixels; their own by default."""
    held_out: int = 8
    """Images, spread evenly, that are kept from the fit and scored afterwards; at most a quarter of all. 0: none."""
    memory: float = 4.0
    """What the images may take in memory, in 1e9 bytes; more is refused."""
    start_splat: pathlib.Path | None = None
    """A .ply, .spz or .splat to start from, in the world of the cameras, instead of what `--start` says."""
    formats: tuple[Literal["ply", "spz", "splat"], ...] = ("ply",)
    """Files of the Gaussians."""
    preview_every: int = 500
    """Steps between previews; 0: none."""
    save_seconds: float = 30.0
    """Seconds between savings of the state, from which a killed fit goes on."""

    def checked(self) -> "FitOptions":
        """Returns the options, or refuses those that make no sense for any images.

        Raises:
            UserError: naming the first such option.
        """
        super().checked()
        for name in ("held_out", "preview_every", "save_seconds"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, not {getattr(self, name)}")
        if not self.memory > 0:
            raise UserError(f"--memory must be positive, not {self.memory}")
        if not self.formats:
            raise UserError("--formats must name at least one format")
        return self

    @property
    def config(self) -> FitConfig:
        """The part that decides what comes of the images."""
        return FitConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(FitConfig)})
