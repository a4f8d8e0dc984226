"""Words to latents of splats by a small U-Net: minutes, to try the chain of docs/diffsplat-training.md.

    python -m diffgs_jax.train --config configs/diffsplat/tiny.py

With a text encoder of its own; a U-Net, so that a ControlNet can steer it.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.diffusion import ScheduleConfig
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models.diffsplat import (
    DiffSplatConfig,
    FrozenConfig,
    LatentConfig,
    LatentLossConfig,
    TextConfig,
)
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DiffSplatConfig(
            backbone="sd15",
            unet=LatentUNetConfig(channels=(32, 64), blocks=1, depths=(1, 1), heads=(2, 4), groups=8, text_width=64),
            latents=LatentConfig(channels=8, downsampling=4),
            text=TextConfig("learned", tokens=12, vocabulary=1024, width=64, layers=1, heads=2),
            schedule=ScheduleConfig("scaled_linear"),
            prediction="v",
            frozen=FrozenConfig("runs/tiny/gsrecon", "runs/tiny/gsvae_decoder"),
            losses=LatentLossConfig(weighting="min_snr", decoder="tiny"),
        ),
        data=DataConfig(
            resolution=32,
            batch_size=8,
            condition_views=0,
            noisy_views=4,
            novel_views=0,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(
            learning_rate=1e-3, warmup_steps=50, weight_decay=0.01, ema_decay=0.98, clip_norm=1.0
        ),
        run=RunConfig(folder="runs/tiny/diffsplat", steps=200, checkpoint_every=50, preview_every=0),
        rig=ObjectRig(elevation=20.0, azimuths=(0.0, 90.0, 180.0, 270.0)),
        sampling=SamplingConfig(sampler="dpm", steps=10, guidance=(2.0,), filter=0.0),
    )
