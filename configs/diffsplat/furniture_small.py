"""A small DiffSplat of furniture, from words or one view, with a text encoder of its own: to be trained on a CPU.

    python -m diffgs_jax.train --config configs/diffsplat/furniture_small.py
    python -m diffgs_jax.sample --checkpoint runs/diffsplat_furniture --prompt "red chair" --out samples

It needs a reconstructor and a VAE of splat grids first (docs/diffsplat.md). Latents of 8 × 8 × 4 views are 256 tokens.
No training of this size has been finished yet.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.diffusion import ScheduleConfig
from diffgs_jax.models.diffsplat import (
    DiffSplatConfig,
    FrozenConfig,
    ImageConfig,
    LatentConfig,
    LatentLossConfig,
    PixArtConfig,
    TextConfig,
)


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DiffSplatConfig(
            backbone="pixart_sigma",
            pixart=PixArtConfig(layers=8, heads=4, head_width=48, patch_size=1, text_width=128, position_base=8),
            latents=LatentConfig(channels=4, downsampling=8),
            text=TextConfig("learned", tokens=16, width=128, layers=2, heads=4),
            image=ImageConfig("learned"),
            schedule=ScheduleConfig("scaled_linear"),
            prediction="v",
            frozen=FrozenConfig(reconstructor="runs/gsrecon_furniture_64", vae="runs/gsvae_furniture"),
            losses=LatentLossConfig(weighting="min_snr"),
        ),
        data=DataConfig(
            path="data/furniture_rings_128",
            resolution=64,
            batch_size=16,
            condition_views=1,
            noisy_views=3,
            novel_views=0,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(
            learning_rate=4e-4, warmup_steps=200, weight_decay=0.01, ema_decay=0.998, clip_norm=1.0
        ),
        run=RunConfig(folder="runs/diffsplat_furniture", steps=20_000, preview_every=1000, checkpoint_every=1000),
        sampling=SamplingConfig(sampler="dpm", steps=20, guidance=(2.0,), filter=0.0),
    )
