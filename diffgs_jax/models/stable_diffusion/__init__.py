"""Stable Diffusion 1 and 2: images of a prompt, by diffusion of an autoencoder's latents (Rombach et al. 2022).

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.stable_diffusion.config import StableDiffusionConfig

__all__ = ["StableDiffusionConfig"]
