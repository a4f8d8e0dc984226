from .compile_cache import use_compile_cache
from .conditions import PosedImages, read_posed_images
from .elevations import BUNDLED_ESTIMATOR, ElevationEstimator, estimate_elevation, load_estimator
from .guidance import guidance_factors
from .hub import HUB_PREFIX, checkpoint_folder
from .loading import BUNDLED_CHECKPOINT, load
from .model_card import model_card
from .options import InputOptions, SamplingOptions
from .pipeline import ImageSource, Pipeline
from .result import Result, Trajectory
from .scene_paths import NAMED_PATHS, ScenePath, scene_path
from .scenes import SceneResult, sample_scene
from .unposed import show_image, show_turntable

__all__ = [
    "HUB_PREFIX",
    "checkpoint_folder",
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
    "NAMED_PATHS",
    "ScenePath",
    "SceneResult",
    "sample_scene",
    "scene_path",
    "Trajectory",
    "estimate_elevation",
    "guidance_factors",
    "load",
    "load_estimator",
    "read_posed_images",
    "show_image",
    "show_turntable",
    "use_compile_cache",
]
