from .geometry import Cameras, Gaussians
from .inference import load
from .rasterizer import Rendering, render
from .version import __version__

__all__ = ["Cameras", "Gaussians", "Rendering", "__version__", "load", "render"]
