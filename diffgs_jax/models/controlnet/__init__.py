"""ControlNets of diffsplat's U-Nets (Zhang et al. 2023; DiffSplat, Lin et al. 2025, section 4.3).

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.controlnet.config import ControlNetModelConfig

__all__ = ["ControlNetModelConfig"]
