"""A ControlNet of depth for DiffSplat from Stable Diffusion 1.5 (Lin et al. 2025, section 4.3).

    python -m diffgs_jax.train --config configs/controlnet/sd15_depth.py
    python -m diffgs_jax.sample --checkpoint runs/diffsplat_sd15 --controlnet runs/controlnet_sd15_depth \
        --control depth.png --prompt "a chair" --out samples

It begins as a copy of half of the denoiser, which stays as it is. `--model.picture normal` and `canny` train the other
two that are published; records without maps have pictures made of their splats (`--model.source splat`). For SDXL, name
its denoiser and give its network: `ControlNetConfig(unet=dataclasses.replace(SDXL_UNET, inputs=10))`. Not run here.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.models.controlnet import ControlNetModelConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=ControlNetModelConfig(base="runs/diffsplat_sd15", picture="depth"),
        data=DataConfig(
            path="data/gobjaverse",
            resolution=256,
            batch_size=128,
            condition_views=0,
            noisy_views=4,
            novel_views=0,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(
            learning_rate=1e-4,
            warmup_steps=1000,
            final_fraction=1.0,
            weight_decay=0.01,
            beta2=0.999,
            clip_norm=1.0,
            ema_decay=0.0,  # published without an average
            accumulate=2,
        ),
        run=RunConfig(folder="runs/controlnet_sd15_depth", steps=65_100, preview_every=0, checkpoint_every=1000),
    )
