"""DiffSplat: latent diffusion of splats from a prompt, an image or both (Lin et al., ICLR 2025).

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.diffsplat.config import (
    Backbone,
    DiffSplatConfig,
    DropoutConfig,
    FrozenConfig,
    ImageConfig,
    LatentConfig,
    LatentLossConfig,
    MMDiTConfig,
    PixArtConfig,
    TextConfig,
)
from diffgs_jax.models.diffsplat.presets import (
    PUBLISHED_DISTANCE,
    PUBLISHED_ELEVATION,
    PUBLISHED_FOV,
    published_diffsplat,
    published_sampling,
)

__all__ = [
    "PUBLISHED_DISTANCE",
    "PUBLISHED_ELEVATION",
    "PUBLISHED_FOV",
    "Backbone",
    "DiffSplatConfig",
    "DropoutConfig",
    "FrozenConfig",
    "ImageConfig",
    "LatentConfig",
    "LatentLossConfig",
    "MMDiTConfig",
    "PixArtConfig",
    "TextConfig",
    "published_diffsplat",
    "published_sampling",
]
