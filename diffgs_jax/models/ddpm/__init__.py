"""Plain diffusion of images by a U-Net (Ho et al. 2020).

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.ddpm.config import DDPMConfig, UNetConfig

__all__ = ["DDPMConfig", "UNetConfig"]
