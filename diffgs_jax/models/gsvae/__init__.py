"""The autoencoder between splat grids and latents (DiffSplat's GSVAE, Lin et al. 2025), and between images and latents.

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.gsvae.config import AutoencoderConfig, AutoencoderLossConfig, GSVAEConfig, TinyDecoderConfig

__all__ = ["AutoencoderConfig", "AutoencoderLossConfig", "GSVAEConfig", "TinyDecoderConfig"]
