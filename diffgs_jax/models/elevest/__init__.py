"""How high above an object a picture was taken: DiffSplat's elevation estimator (Lin et al. 2025), ElevEst.

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.elevest.config import ElevEstConfig, VisionConfig

__all__ = ["ElevEstConfig", "VisionConfig"]
