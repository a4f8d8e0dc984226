"""Splat grids of 32² to latents of 8² and back: minutes, to try the chain of docs/diffsplat-training.md.

python -m diffgs_jax.train --config configs/gsvae/tiny.py
python -m diffgs_jax.train --config configs/gsvae/tiny.py --model.stage tiny_decoder \
        --run.init-from runs/tiny/gsvae --run.folder runs/tiny/gsvae_decoder
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.models.gsvae import AutoencoderConfig, AutoencoderLossConfig, GSVAEConfig, TinyDecoderConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=GSVAEConfig(
            network=AutoencoderConfig(latents=8, widths=(24, 32, 48), blocks=1, groups=8),
            tiny=TinyDecoderConfig(width=24, blocks=1),
            scaling_factor=1.0,
            reconstructor="runs/tiny/gsrecon",
            losses=AutoencoderLossConfig(rendering=0.3, kl=1e-6),
        ),
        data=DataConfig(
            resolution=32,
            batch_size=4,
            condition_views=4,
            noisy_views=0,
            novel_views=1,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=50, ema_decay=0.98, clip_norm=1.0),
        run=RunConfig(folder="runs/tiny/gsvae", steps=200, checkpoint_every=50, preview_every=0),
    )
