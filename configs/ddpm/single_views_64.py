"""Diffusion of images that has seen one view of each object: the prior of `configs/diffusion_gs/single_view_64.py`.

    python -m diffgs_jax.train --config configs/ddpm/single_views_64.py

The same view of a record that the 3D model sees, and no other, so that nothing of a second view comes in by way of the
prior. 10,000 steps of 16 images on two CPU cores: not yet measured. Score: not yet measured.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.diffusion import ScheduleConfig
from diffgs_jax.models.ddpm import DDPMConfig, UNetConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DDPMConfig(
            network=UNetConfig(channels=16, multipliers=(1, 2, 4, 8), blocks=1, attention_levels=(3,), groups=8),
            schedule=ScheduleConfig(name="squaredcos_cap_v2"),
        ),
        data=DataConfig(
            path="data/furniture_128",
            resolution=64,
            batch_size=16,
            condition_views=0,
            noisy_views=1,
            novel_views=0,
            view_choice=ViewChoice(kind="fixed_view"),
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, ema_decay=0.998, clip_norm=1.0),
        run=RunConfig(
            folder="runs/single_views_ddpm_64", steps=10_000, preview_every=1000, preview_objects=8, preview_steps=30
        ),
        sampling=SamplingConfig(sampler="ddpm", steps=250),
    )
