"""What the refining and the distilling command can be asked for."""

import dataclasses
import pathlib
from typing import Literal

from diffgs_jax.errors import UserError
from diffgs_jax.interop import Matting
from diffgs_jax.optimization.guided_config import DistilConfig, RefineConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidedOptions:
    """What both can be asked for: images, priors and files."""

    out: pathlib.Path
    """Folder for what is made; created if need be."""
    image: pathlib.Path | None = None
    """An image of the object, taken from azimuth 0."""
    elevation: float = 20.0
    """How far above the object's horizon the image's camera was, degrees."""
    foreground_ratio: float | None = 0.72
    """The object's larger side over the side of its view, as `sample` frames it; None keeps the image's framing."""
    matting: Matting = "auto"
    """What tells the object from its background, as in `sample`."""
    data: pathlib.Path | None = None
    """Posed images instead, in the frame of the splat: a transforms.json or its folder, or a record store."""
    record: str | None = None
    """Which record of a store; needed where there are several."""
    views: tuple[int, ...] = ()
    """Numbers of the record's images that are given; all by default. The others are scored."""
    resolution: int = 128
    """Height and width that given images are brought to, pixels."""
    memory: float = 4.0
    """What images may take in memory, in 1e9 bytes; more is refused."""
    checkpoints: tuple[pathlib.Path, ...] = ()
    """Folders of trained models that are priors."""
    prior_weights: tuple[float, ...] = ()
    """A weight for each prior; 1 by default."""
    guidance: tuple[float, ...] = (1.0,)
    """Scale of classifier-free guidance, one for all priors or one for each; 1 is none. Only for models trained with
    condition dropout."""
    labels: tuple[int, ...] = ()
    """Class for priors that know classes: one, or three for how the front, the sides and the back are called."""
    prompt: str | None = None
    """Words for priors that know words."""
    negative_prompt: str | None = None
    """Words for what to stay away from."""
    directions: bool = True
    """Add "front view", "side view" or "back view" to the prompt, as the camera stands."""
    dilation: float | None = None
    """What rendering adds to Gaussians, square pixels; 0.3 by default, 0.1 for splats that `sample` filtered."""
    formats: tuple[Literal["ply", "spz", "splat"], ...] = ("ply",)
    """Files of the Gaussians."""
    preview_every: int = 100
    """Steps between previews; 0: none."""
    save_seconds: float = 30.0
    """Seconds between savings of the state, from which a killed run goes on."""

    def check_shared(self) -> None:
        """Refuses options that make no sense for any image and model.

        Raises:
            UserError: naming the first such option.
        """
        for name in ("preview_every", "save_seconds"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, not {getattr(self, name)}")
        if not self.memory > 0:
            raise UserError(f"--memory must be positive, not {self.memory}")
        if not self.formats:
            raise UserError("--formats must name at least one format")
        if self.image is not None and self.data is not None:
            raise UserError("--image and --data are two ways of giving images: give one of them")
        if self.resolution < 11:
            raise UserError(f"--resolution must be at least 11, not {self.resolution}")
        if not -90 <= self.elevation <= 90:
            raise UserError(f"the elevation must be from -90 to 90 degrees, not {self.elevation}")
        if self.dilation is not None and self.dilation < 0:
            raise UserError(f"--dilation must be 0 or more, not {self.dilation}")
        if self.views and self.data is None:
            raise UserError("--views numbers images of --data: give that too")
        if len(self.labels) not in (0, 1, 3):
            raise UserError(f"--labels is one class, or three: of front, side and back; not {len(self.labels)}")
        if self.negative_prompt is not None and self.prompt is None:
            raise UserError("--negative-prompt goes with --prompt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefineOptions(GuidedOptions, RefineConfig):
    """Brings a splat closer to given images, while it stays what it is from elsewhere."""

    start: pathlib.Path
    """The splat: a .ply, .spz or .splat; or a folder that `sample` made, whose image and camera are then taken too."""

    def checked(self) -> "RefineOptions":
        """Returns the options, or refuses those that make no sense for any splat.

        Raises:
            UserError: naming the first such option.
        """
        self.check_shared()
        super().checked()
        return self

    @property
    def config(self) -> RefineConfig:
        """The part that decides what comes of a splat, images and models."""
        return RefineConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(RefineConfig)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilOptions(GuidedOptions, DistilConfig):
    """Makes a splat of fog, by models that were trained before."""

    def checked(self) -> "DistilOptions":
        """Returns the options, or refuses those that make no sense for any model.

        Raises:
            UserError: naming the first such option.
        """
        self.check_shared()
        super().checked()
        return self

    @property
    def config(self) -> DistilConfig:
        """The part that decides what comes of images and models."""
        return DistilConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(DistilConfig)})
