"""What moving Gaussians can be asked for, and fitting them to images."""

import dataclasses
from typing import Literal

from diffgs_jax.errors import UserError

Growth = Literal[
    "relocation",  # dead Gaussians move to where others are (MCMC, Kheradmand et al. 2024)
    "gradient",  # Gaussians that are pulled hard are cloned or split (Kerbl et al. 2023)
    "none",
]
Start = Literal[
    "auto",  # depth if all images have it, else hull if all are cut out, else random
    "depth",  # on the surfaces that the depth maps show
    "hull",  # on the surface of the visual hull
    "random",  # anywhere in front of the cameras
]


@dataclasses.dataclass(frozen=True)
class Rates:
    """Adam's learning rates, for a thousand steps or two; those of 3DGS (Kerbl et al. 2023) are for 30,000."""

    means: float = 1.6e-3
    """Of the positions at the start, in extents of the scene; published: 1.6e-4."""
    means_end: float = 1.6e-5
    """The same at the end; exponential in between. Published: 1.6e-6."""
    scales: float = 1e-2
    """Of the scales' logarithms; published: 0.005."""
    rotations: float = 5e-3
    """Of the quaternions; published: 0.001."""
    opacities: float = 5e-2
    """Of the opacities' logits; published: 0.05."""
    colors: float = 1e-2
    """Of the harmonics of degree 0; the higher ones have a twentieth. Published: 0.0025."""


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """L = (1 − ssim)·L1 + ssim·(1 − SSIM) + depth·|D̂ − D|/D."""

    ssim: float = 0.2
    """Published: 0.2."""
    depth: float = 0.05
    """Where images come with depth."""


@dataclasses.dataclass(frozen=True)
class GradientGrowth:
    """Clone and split by the gradient of the position in the image (Kerbl et al. 2023, section 5.2)."""

    threshold: float = 2e-4
    """Mean length of that gradient from which a Gaussian is cloned or split; images are 2 wide."""
    split_above: float = 0.01
    """Gaussians larger than this are split, others cloned; extents of the scene."""
    prune_below: float = 0.005
    """Gaussians fainter than this are taken out."""
    prune_above: float = 0.1
    """So are those larger than this after the first reset of opacities; extents of the scene."""
    reset_every: int = 0
    """Steps after which opacities are brought down to 0.01; 0: never. Published: 3000, of 30,000."""


@dataclasses.dataclass(frozen=True)
class RelocationGrowth:
    """Relocation (Kheradmand et al. 2024): Gaussians as samples that walk, and the dead ones move to the living."""

    dead_below: float = 0.005
    """Opacity."""
    growth: float = 0.05
    """New Gaussians at each relocation, as a share of those there are, until the capacity is reached."""
    noise: float = 5e2
    """Of the positions, in covariances and learning rates. Published: 5e5, for a million small Gaussians and a tenth of
    the rate; a few thousand large ones it would throw out of the scene."""
    opacity_weight: float = 0.001
    """Of the mean opacity in the loss. Published: 0.01, for images without empty parts, whose losses are larger."""
    scale_weight: float = 0.001
    """Of the mean scale in the loss, world units. Published: 0.01."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """How Gaussians are moved, whatever pulls at them."""

    steps: int = 1500
    """Steps of gradient descent."""
    capacity: int = 4000
    """Most Gaussians; memory and the compiled program are for this many from the first step on."""
    sh_degree: int = 2
    """Degree of the colours' spherical harmonics at the end, 0 to 3; it rises by one every `sh_every` steps."""
    sh_every: int = 200
    """Published: 1000, of 30,000."""
    growth: Growth = "relocation"
    """How the set of Gaussians changes on the way."""
    growth_every: int = 100
    """Steps between such changes."""
    growth_from: int = 100
    """Step of the first such change; published: 500, of 30,000."""
    growth_until: float = 0.8
    """Share of the steps after which the set stays as it is. Published: 0.5 (gradient), 0.83 (relocation)."""
    random_background: bool = True
    """Show cut-outs and renderings on a colour that is drawn anew for each image, so that what is empty stays so."""
    seed: int = 0
    """Of the start, the order of the images, backgrounds and noise."""
    rates: Rates = Rates()
    loss: LossWeights = LossWeights()
    by_gradient: GradientGrowth = GradientGrowth()
    by_relocation: RelocationGrowth = RelocationGrowth()

    def checked(self) -> "OptimizationConfig":
        """Returns the settings, or refuses those that make no sense for anything.

        Raises:
            UserError: naming the first such setting.
        """
        for name in ("steps", "sh_every", "growth_every"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.sh_degree <= 3:
            raise UserError(f"--sh-degree must be 0 to 3, not {self.sh_degree}")
        if not 0 <= self.growth_until <= 1:
            raise UserError(f"--growth-until must be 0 to 1, not {self.growth_until}")
        if not 0 <= self.loss.ssim <= 1 or self.loss.depth < 0:
            raise UserError("--loss.ssim must be 0 to 1 and --loss.depth at least 0")
        if min(dataclasses.astuple(self.rates)) <= 0:
            raise UserError("the learning rates must be positive")
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig(OptimizationConfig):
    """How Gaussians are fitted to images."""

    start: Start = "auto"
    """Where the first Gaussians are."""
    start_count: int | None = None
    """How many there are at first; three quarters of the capacity by default."""
    images_per_step: int = 1
    """How many images a step looks at."""

    def checked(self) -> "FitConfig":
        """Returns the settings, or refuses those that make no sense for any images.

        Raises:
            UserError: naming the first such setting.
        """
        super().checked()
        for name in ("capacity", "images_per_step"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        if self.start_count is not None and not 1 <= self.start_count <= self.capacity:
            raise UserError(f"--start-count must be 1 to the capacity {self.capacity}, not {self.start_count}")
        return self
