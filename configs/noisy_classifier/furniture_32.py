"""A classifier of noisy furniture, to guide a ddpm of the same schedule by.

python -m diffgs_jax.train --config configs/noisy_classifier/furniture_32.py --data.path data/furniture_128

Most of the objects that come with the repository are of no class that has many; `data/furniture_128` (README of assets)
has 178 objects of these eight.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import ScheduleConfig
from diffgs_jax.models.noisy_classifier import NoisyClassifierConfig

LABELS = ("armchair", "chair", "table", "sofa", "lamp", "door", "window", "cabinet")


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=NoisyClassifierConfig(schedule=ScheduleConfig(name="squaredcos_cap_v2"), classes=len(LABELS)),
        data=DataConfig(
            path="assets/furniture_cc0",
            resolution=32,
            batch_size=32,
            condition_views=0,
            noisy_views=1,
            novel_views=0,
            labels=LABELS,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, ema_decay=0.998, clip_norm=1.0),
        run=RunConfig(folder="runs/noisy_classifier_furniture_32", steps=3000, preview_every=0),
    )
