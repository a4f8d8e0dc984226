from .compile_cache import use_compile_cache
from .conditions import PosedImages, read_posed_images, show_image
from .options import InputOptions, SamplingOptions
from .pipeline import BUNDLED_CHECKPOINT, ImageSource, Pipeline, guidance_factors, load
from .result import Result, Trajectory

__all__ = [
    "BUNDLED_CHECKPOINT",
    "PosedImages",
    "ImageSource",
    "InputOptions",
    "Pipeline",
    "Result",
    "SamplingOptions",
    "Trajectory",
    "guidance_factors",
    "load",
    "read_posed_images",
    "show_image",
    "use_compile_cache",
]
