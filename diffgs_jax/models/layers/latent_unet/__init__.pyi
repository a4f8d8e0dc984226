from .config import SD21_UNET, SDXL_UNET, ControlNetConfig, LatentUNetConfig
from .controlnet import (
    control_residuals,
    control_views,
    controlnet_shapes,
    init_controlnet,
    sum_residuals,
    unconditional_half,
    window_scales,
)
from .encoder import AddedCondition
from .network import (
    ControlResiduals,
    apply_latent_unet,
    check_latent_unet,
    init_latent_unet,
    latent_unet_shapes,
    widen_input,
)
from .published import (
    CONTROLNET_NAMES,
    UNET_NAMES,
    controlnet_config,
    latent_unet_config,
    load_controlnet,
    load_latent_unet,
)

__all__ = [
    "CONTROLNET_NAMES",
    "SD21_UNET",
    "SDXL_UNET",
    "UNET_NAMES",
    "AddedCondition",
    "ControlNetConfig",
    "ControlResiduals",
    "LatentUNetConfig",
    "apply_latent_unet",
    "check_latent_unet",
    "control_residuals",
    "control_views",
    "controlnet_config",
    "controlnet_shapes",
    "init_controlnet",
    "init_latent_unet",
    "latent_unet_config",
    "latent_unet_shapes",
    "load_controlnet",
    "load_latent_unet",
    "sum_residuals",
    "unconditional_half",
    "widen_input",
    "window_scales",
]
