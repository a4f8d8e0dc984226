from .cloning import clone_and_split, prune, reset_opacities
from .config import FitConfig, GradientGrowth, LossWeights, OptimizationConfig, Rates, RelocationGrowth
from .descent import Fitting
from .fitting import fit
from .guided import fog, guide, new_adapters
from .guided_config import DistilConfig, Distillation, GuidedConfig, RefineConfig, TextureStage
from .guided_steps import Pulling
from .initialization import initial_gaussians, outside_silhouettes
from .parameters import Parameters, from_gaussians, roomy, to_gaussians, used_gaussians
from .posed_images import PosedImages, choose, decode_images, scene_extent
from .priors import Asked, Prior, check_prior
from .relocation import grow, relocate, shared_opacity_and_scale
from .state import FitState, initial_state, read_state, write_state
from .steps import Knobs, Plan, knobs_of, run_steps
from .texture_stage import Texturing, optimize_texture

__all__ = [
    "Asked",
    "DistilConfig",
    "Distillation",
    "FitConfig",
    "FitState",
    "Fitting",
    "GradientGrowth",
    "GuidedConfig",
    "Knobs",
    "LossWeights",
    "OptimizationConfig",
    "Parameters",
    "Plan",
    "PosedImages",
    "Prior",
    "Pulling",
    "Rates",
    "RefineConfig",
    "RelocationGrowth",
    "TextureStage",
    "Texturing",
    "check_prior",
    "choose",
    "clone_and_split",
    "decode_images",
    "fit",
    "fog",
    "from_gaussians",
    "grow",
    "guide",
    "initial_gaussians",
    "initial_state",
    "knobs_of",
    "new_adapters",
    "optimize_texture",
    "outside_silhouettes",
    "prune",
    "read_state",
    "relocate",
    "reset_opacities",
    "roomy",
    "run_steps",
    "scene_extent",
    "shared_opacity_and_scale",
    "to_gaussians",
    "used_gaussians",
    "write_state",
]
