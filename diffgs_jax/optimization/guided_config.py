"""What refining a splat, and distilling one from a model, can be asked for."""

import dataclasses
from typing import Literal

from diffgs_jax.diffusion.distillation_kinds import Annealing, DistillationWeight
from diffgs_jax.errors import UserError
from diffgs_jax.optimization.config import Growth, OptimizationConfig, Rates


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How priors are asked."""

    kind: Literal["sds", "vsd"] = "sds"
    """`sds`: score distillation sampling (Poole et al. 2023); `vsd`: variational score distillation (Wang et al. 2023),
    beside a small network that learns what the renderings look like."""
    views: int = 2
    """Views of a step that a prior of single images looks at; one of several views has its own number."""
    weight: DistillationWeight = "variance"
    """w(t): `variance` = σ_t² (DreamFusion), or `one`."""
    annealing: Annealing = "sqrt"
    """How noise falls: `random` (DreamFusion), `linear` (DreamGaussian) or `sqrt` (HiFA) of the progress."""
    low: float = 0.02
    """Smallest timestep, relative to the schedule's length; published."""
    high: float = 0.98
    """Largest one; published."""
    away: float = 0.5
    """How much a view is kept from looking like the other directions (Perp-Neg), where a prior has a condition for each
    of front, side and back; 0: not at all."""
    adapter_rate: float = 1e-2
    """Learning rate of the network of `vsd`."""
    adapter_width: int = 16
    """Channels of it."""


@dataclasses.dataclass(frozen=True)
class TextureStage:
    """The second stage: a mesh of the splat, whose texture is optimised while its geometry stays."""

    steps: int = 0
    """Steps of it; 0: no mesh. Published: 50 (DreamGaussian)."""
    size: int = 512
    """Side of the texture, pixels."""
    resolution: int = 128
    """Voxels along the object's longest side that the mesh is made with."""
    rate: float = 0.01
    """Adam's learning rate of the colours, in [0, 1]."""
    high: float = 0.5
    """Largest timestep at which priors are asked, relative to the schedule's length; it falls from there."""
    keep_weight: float = 0.1
    """Weight of the mean squared difference to the texture that the splat gives."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidedConfig(OptimizationConfig):
    """How Gaussians are moved by some given images, by what they looked like at first, and by priors."""

    image_weight: float = 1.0
    """Weight of the loss on given images."""
    stay_weight: float = 0.0
    """Weight of the mean absolute difference to what the first splat looks like from elsewhere; it is full behind the
    object and falls to 0 at the given cameras."""
    stay_views: int = 1
    """Views from elsewhere that a step compares."""
    still_weight: float = 0.0
    """Weight of the mean squared move of the positions, in extents of the scene."""
    prior_weight: float = 1.0
    """Weight of all priors together; each has its own beside it."""
    elevations: tuple[float, float] = (-10.0, 60.0)
    """Least and greatest elevation of views from elsewhere, degrees."""
    jitter: float = 20.0
    """How far the views of a prior of several views turn about the vertical, at random, degrees."""
    resolutions: tuple[int, ...] = ()
    """Sides at which priors see the splat, one after another for equal parts of the steps, enlarged to the prior's own:
    16 32 64 begins coarse. By default the prior's own alone."""
    radius: float = 1.2
    """Gaussians farther from the origin than this go at every change of the set and in the end."""
    distillation: Distillation = Distillation()

    def checked(self) -> "GuidedConfig":
        """Returns the settings, or refuses those that make no sense for anything.

        Raises:
            UserError: naming the first such setting.
        """
        super().checked()
        told = self.distillation
        for name in ("image_weight", "stay_weight", "still_weight", "prior_weight", "jitter"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, not {getattr(self, name)}")
        if self.stay_views < 1 or told.views < 1 or told.adapter_width < 1:
            raise UserError("--stay-views, --distillation.views and --distillation.adapter-width must be at least 1")
        if not -90 <= self.elevations[0] <= self.elevations[1] <= 90:
            raise UserError(f"--elevations are two rising angles from -90 to 90, not {list(self.elevations)}")
        if not 0 <= told.low <= told.high <= 1:
            raise UserError(f"--distillation.low and .high must be 0 <= low <= high <= 1, not {told.low}, {told.high}")
        if not 0 <= told.away or told.adapter_rate <= 0:
            raise UserError("--distillation.away must be 0 or more and --distillation.adapter-rate above 0")
        if any(side < 8 for side in self.resolutions):
            raise UserError(f"--resolutions must be at least 8, not {min(self.resolutions)}")
        if self.radius <= 0:
            raise UserError(f"--radius must be positive, not {self.radius}")
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefineConfig(GuidedConfig):
    """How a splat is brought closer to the given images."""

    steps: int = 400
    """Steps of gradient descent."""
    capacity: int = 0
    """Most Gaussians; 0: as many as the splat has, up to the next 1024."""
    sh_degree: int = 0
    """Degree of the colours' spherical harmonics, 0 to 3: what is above 0 can show each camera something else."""
    growth: Growth = "none"
    """How the set of Gaussians changes on the way."""
    rates: Rates = Rates(means=5e-4, means_end=2e-5, scales=5e-3, rotations=2e-3, opacities=5e-2, colors=1e-2)
    stay_weight: float = 2.0
    """Weight of the mean absolute difference to what the first splat looks like from elsewhere; it is full behind the
    object and falls to 0 at the given cameras."""
    still_weight: float = 1.0
    """Weight of the mean squared move of the positions, in extents of the scene."""

    def checked(self) -> "RefineConfig":
        """Returns the settings, or refuses those that make no sense for any splat.

        Raises:
            UserError: naming the first such setting.
        """
        super().checked()
        if self.capacity < 0:
            raise UserError(f"--capacity must be 0 or more, not {self.capacity}")
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilConfig(GuidedConfig):
    """How a splat is made of fog, by priors."""

    steps: int = 500
    """Steps of gradient descent; published: 500 (DreamGaussian)."""
    sh_degree: int = 0
    """Degree of the colours' spherical harmonics, 0 to 3; published: 0."""
    start_count: int = 1000
    """Gaussians of the fog; published: 5000."""
    start_radius: float = 0.5
    """Radius of the ball of fog; published."""
    growth: Growth = "relocation"
    """How the set of Gaussians changes on the way."""
    rates: Rates = Rates(means=4e-3, means_end=1e-4, scales=5e-3, rotations=5e-3, opacities=5e-2, colors=1e-2)
    mesh: TextureStage = TextureStage()

    def checked(self) -> "DistilConfig":
        """Returns the settings, or refuses those that make no sense for anything.

        Raises:
            UserError: naming the first such setting.
        """
        super().checked()
        if not 1 <= self.start_count <= self.capacity:
            raise UserError(f"--start-count must be 1 to the capacity {self.capacity}, not {self.start_count}")
        if self.start_radius <= 0:
            raise UserError(f"--start-radius must be positive, not {self.start_radius}")
        stage = self.mesh
        if stage.steps < 0 or stage.rate <= 0 or stage.keep_weight < 0:
            raise UserError("--mesh.steps and .keep-weight must be 0 or more, --mesh.rate above 0")
        if not self.distillation.low <= stage.high <= 1:
            raise UserError(f"--mesh.high must be --distillation.low {self.distillation.low} to 1, not {stage.high}")
        if not 16 <= stage.resolution <= 512:
            raise UserError(f"--mesh.resolution must be 16 to 512, not {stage.resolution}")
        return self
