"""Zero-1-to-3: an image of an object from another side, by diffusion told of that side (Liu et al., ICCV 2023).

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.layers.clip_vision_config import CLIPVisionConfig
from diffgs_jax.models.zero123.config import PatchEncoderConfig, Zero123Config

__all__ = ["CLIPVisionConfig", "PatchEncoderConfig", "Zero123Config"]
