from .lpips import LPIPSNetwork, LPIPSWeights, features, lpips, smallest_size
from .lpips_weights import is_installed, load_lpips, save_lpips, weights_file
from .renderings import comparison_losses, depth_errors, perceptual_distance, render_targets, rendering_losses
from .ssim import SSIM_WINDOW, ssim, ssim_map
from .weighting import Ramp, TermWeights, min_snr_weights, ramp_factor, signal_weights

__all__ = [
    "SSIM_WINDOW",
    "LPIPSWeights",
    "LPIPSNetwork",
    "Ramp",
    "TermWeights",
    "comparison_losses",
    "depth_errors",
    "features",
    "is_installed",
    "load_lpips",
    "lpips",
    "min_snr_weights",
    "perceptual_distance",
    "ramp_factor",
    "render_targets",
    "rendering_losses",
    "save_lpips",
    "signal_weights",
    "smallest_size",
    "ssim",
    "ssim_map",
    "weights_file",
]
