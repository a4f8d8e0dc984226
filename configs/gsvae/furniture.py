"""Splat grids of furniture to latents of an eighth of their height and width, and back.

    python -m diffgs_jax.train --config configs/gsrecon/furniture_64.py      # makes the grids
    python -m diffgs_jax.train --config configs/gsvae/furniture.py
    python scripts/gsvae/measure_grids.py --checkpoint runs/gsvae_furniture --data data/furniture_rings_128

Each of an object's four grids, 64 × 64 pixels of 12 channels, becomes 8 × 8 pixels of 8 channels: 96 times fewer
numbers. `--model.reconstructor DIR` names another model of grids. The tiny decoder is a second stage:

    … --model.stage tiny_decoder --run.init-from runs/gsvae_furniture --run.folder runs/gsvae_furniture_tiny
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.models.gsvae import AutoencoderConfig, AutoencoderLossConfig, GSVAEConfig, TinyDecoderConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=GSVAEConfig(
            network=AutoencoderConfig(latents=8, widths=(32, 64, 96, 128), blocks=1, groups=8),
            tiny=TinyDecoderConfig(width=32, blocks=1),
            scaling_factor=1.0,
            reconstructor="runs/gsrecon_furniture_64",
            losses=AutoencoderLossConfig(kl=1e-6),
        ),
        data=DataConfig(
            path="data/furniture_rings_128",
            resolution=64,
            batch_size=4,
            condition_views=4,
            noisy_views=0,
            novel_views=2,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(learning_rate=4e-4, warmup_steps=200, ema_decay=0.998, clip_norm=1.0),
        run=RunConfig(folder="runs/gsvae_furniture", steps=6000, checkpoint_every=250, preview_every=0),
    )
