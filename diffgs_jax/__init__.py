"""Pictures in, 3D Gaussians out: DiffusionGS in JAX.

import diffgs_jax

pipeline = diffgs_jax.load()
gaussians = pipeline("picture.png").gaussians
"""

from typing import TYPE_CHECKING, Any

from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.rasterizer import Rendering, render

if TYPE_CHECKING:
    from diffgs_jax.inference.pipeline import load

__all__ = ["Cameras", "Gaussians", "Rendering", "load", "render"]


def __getattr__(name: str) -> Any:
    # Checkpoints bring half a second of imports that rendering alone does not need.
    if name == "load":
        from diffgs_jax.inference.pipeline import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
