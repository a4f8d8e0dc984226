from .cloning import clone_and_split, prune, reset_opacities
from .config import FitConfig, GradientGrowth, LossWeights, Rates, RelocationGrowth
from .fitting import Fitting, fit
from .initialization import initial_gaussians, outside_silhouettes
from .parameters import Parameters, from_gaussians, to_gaussians, used_gaussians
from .posed_images import PosedImages, choose, decode_images, scene_extent
from .relocation import grow, relocate, shared_opacity_and_scale
from .state import FitState, initial_state, read_state, write_state
from .steps import Knobs, Plan, knobs_of, run_steps

__all__ = [
    "FitConfig",
    "FitState",
    "Fitting",
    "GradientGrowth",
    "Knobs",
    "LossWeights",
    "Parameters",
    "Plan",
    "PosedImages",
    "Rates",
    "RelocationGrowth",
    "choose",
    "clone_and_split",
    "decode_images",
    "fit",
    "from_gaussians",
    "grow",
    "initial_gaussians",
    "initial_state",
    "knobs_of",
    "outside_silhouettes",
    "prune",
    "read_state",
    "relocate",
    "reset_opacities",
    "run_steps",
    "scene_extent",
    "shared_opacity_and_scale",
    "to_gaussians",
    "used_gaussians",
    "write_state",
]
