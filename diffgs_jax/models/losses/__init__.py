"""How different two pictures look: LPIPS, and SSIM. Pure functions, differentiable, for losses and for scores."""

from diffgs_jax.models.losses.lpips import LPIPSWeights, Network, features, lpips, smallest_size
from diffgs_jax.models.losses.lpips_weights import (
    is_installed,
    load_lpips,
    save_lpips,
    weights_file,
)
from diffgs_jax.models.losses.ssim import SSIM_WINDOW, ssim, ssim_map

__all__ = [
    "SSIM_WINDOW",
    "LPIPSWeights",
    "Network",
    "features",
    "is_installed",
    "load_lpips",
    "lpips",
    "save_lpips",
    "smallest_size",
    "ssim",
    "ssim_map",
    "weights_file",
]
