"""How different two pictures look: LPIPS, and SSIM. Pure functions, differentiable, for losses and for scores."""

from diffgs_jax.models.perceptual.network import LPIPSWeights, Network, features, lpips, smallest_size
from diffgs_jax.models.perceptual.similarity import SSIM_WINDOW, ssim, ssim_map
from diffgs_jax.models.perceptual.weights import (
    cache_folder,
    fingerprint,
    is_installed,
    load_lpips,
    save_lpips,
    weights_file,
)

__all__ = [
    "SSIM_WINDOW",
    "LPIPSWeights",
    "Network",
    "cache_folder",
    "features",
    "fingerprint",
    "is_installed",
    "load_lpips",
    "lpips",
    "save_lpips",
    "smallest_size",
    "ssim",
    "ssim_map",
    "weights_file",
]
