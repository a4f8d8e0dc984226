"""DiffusionGS: a transformer that denoises posed views by way of the Gaussians it renders them from.

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.diffusion_gs.config import (
    DiffusionConfig,
    DiffusionGSConfig,
    DistanceLaw,
    Domain,
    GaussianConfig,
    LossConfig,
    LossSchedules,
    NetworkConfig,
    NovelPriorConfig,
    Ramp,
)

__all__ = [
    "DiffusionConfig",
    "DiffusionGSConfig",
    "DistanceLaw",
    "Domain",
    "GaussianConfig",
    "LossConfig",
    "LossSchedules",
    "NetworkConfig",
    "NovelPriorConfig",
    "Ramp",
]
