"""A classifier of noisy images, to guide a diffusion model by (Dhariwal & Nichol 2021, section 4).

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.noisy_classifier.config import EncoderConfig, NoisyClassifierConfig

__all__ = ["EncoderConfig", "NoisyClassifierConfig"]
