"""Plain diffusion of images, on the views of the furniture in the repository: a grid of new chairs and tables.

    python -m diffgs_jax.train --config configs/ddpm/furniture_32.py
    python -m diffgs_jax.evaluate --checkpoint runs/ddpm_furniture_32 --sampler ddim --steps 50 --out scores

2.6 million parameters; 30 images a second on two CPU cores, so 54 minutes for all 6,000 steps. After 4,000 the Fréchet
distance (VGG16) of 500 samples was 294, of the mean image 372, of training images 48: blobs on white, a few with legs
(docs/ddpm.md).
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import ScheduleConfig
from diffgs_jax.models.ddpm import DDPMConfig, UNetConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DDPMConfig(
            network=UNetConfig(channels=16, multipliers=(1, 2, 4, 8), blocks=1, attention_levels=(2,), groups=8),
            schedule=ScheduleConfig(name="squaredcos_cap_v2"),
        ),
        data=DataConfig(
            path="assets/furniture_cc0",
            resolution=32,
            batch_size=16,
            condition_views=0,
            noisy_views=1,
            novel_views=0,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, ema_decay=0.998, clip_norm=1.0),
        run=RunConfig(
            folder="runs/ddpm_furniture_32", steps=6000, preview_every=1000, preview_objects=8, preview_steps=30
        ),
        sampling=SamplingConfig(sampler="ddpm", steps=250),
    )
