from .compile_cache import use_compile_cache
from .conditions import PosedImages, read_posed_images, show_image
from .elevations import BUNDLED_ESTIMATOR, ElevationEstimator, estimate_elevation, load_estimator
from .hub import HUB_PREFIX, hub_checkpoint
from .model_card import model_card
from .options import InputOptions, SamplingOptions
from .pipeline import BUNDLED_CHECKPOINT, ImageSource, Pipeline, guidance_factors, load
from .result import Result, Trajectory

__all__ = [
    "HUB_PREFIX",
    "hub_checkpoint",
    "model_card",
    "BUNDLED_CHECKPOINT",
    "BUNDLED_ESTIMATOR",
    "ElevationEstimator",
    "PosedImages",
    "ImageSource",
    "InputOptions",
    "Pipeline",
    "Result",
    "SamplingOptions",
    "Trajectory",
    "estimate_elevation",
    "guidance_factors",
    "load",
    "load_estimator",
    "read_posed_images",
    "show_image",
    "use_compile_cache",
]
