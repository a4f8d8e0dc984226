"""GSRecon, the reconstructor of DiffSplat (Lin et al., ICLR 2025): posed views in, 3D Gaussians out, in one pass."""

from diffgs_jax.models.gsrecon.config import (
    PUBLISHED_FRAME,
    FrameConfig,
    GSReconConfig,
    ReconstructionLossConfig,
    ReconstructorConfig,
)

__all__ = [
    "PUBLISHED_FRAME",
    "FrameConfig",
    "GSReconConfig",
    "ReconstructionLossConfig",
    "ReconstructorConfig",
]
