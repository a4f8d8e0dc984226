"""gsd: diffusion over sets of Gaussians, guided by views while it samples.

This package's own interface is its settings; everything else is reached through `diffgs_jax.models.family`.
"""

from diffgs_jax.models.gsd.config import GSDConfig, SetNetworkConfig, SetStatistics, ViewGuidanceConfig, read_statistics

__all__ = ["GSDConfig", "SetNetworkConfig", "SetStatistics", "ViewGuidanceConfig", "read_statistics"]
