"""A ControlNet of depth for the small denoiser of docs/diffsplat-training.md: minutes on two cores.

    python -m diffgs_jax.train --config configs/controlnet/tiny.py

Its pictures are made of the splats that the reconstructor makes, since the shipped records have no depth.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.models.controlnet import ControlNetModelConfig
from diffgs_jax.models.layers.latent_unet.config import ControlNetConfig, LatentUNetConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    unet = LatentUNetConfig(
        inputs=14, outputs=8, channels=(32, 64), blocks=1, depths=(1, 1), heads=(2, 4), groups=8, text_width=64
    )
    return TrainConfig(
        model=ControlNetModelConfig(
            base="runs/tiny/diffsplat",
            picture="depth",
            source="splat",
            network=ControlNetConfig(unet, picture_widths=(16, 24, 32)),
        ),
        data=DataConfig(
            resolution=32,
            batch_size=8,
            condition_views=0,
            noisy_views=4,
            novel_views=0,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=50, ema_decay=0.98, clip_norm=1.0),
        run=RunConfig(folder="runs/tiny/controlnet", steps=200, checkpoint_every=50, preview_every=0),
    )
