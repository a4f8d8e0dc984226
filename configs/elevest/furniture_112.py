"""How high above a piece of furniture a picture was taken.

    python scripts/prepare_sweethome3d.py --out data/furniture_128 --ring-views 0 --views 32 --maps
    python -m diffgs_jax.train --config configs/elevest/furniture_112.py
    python scripts/elevest/measure_elevations.py --checkpoint runs/elevest_furniture_112

A vision transformer of under a million parameters, at 112². A step of 64 views takes some two
seconds of processor time (69 of them, compiling included, took 160). It has not been trained to the end.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import CameraAugmentation, DataConfig, ViewChoice
from diffgs_jax.models.elevest import ElevEstConfig, VisionConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=ElevEstConfig(
            network=VisionConfig(width=128, layers=4, heads=4, position_grid=8, registers=2),
            resolution=112,
            foreground_ratio=0.85,
            views_are="over_sphere",
        ),
        data=DataConfig(
            path="data/furniture_128",
            resolution=112,
            batch_size=8,
            condition_views=0,
            noisy_views=8,
            novel_views=0,
            view_choice=ViewChoice(kind="random"),
            augmentation=CameraAugmentation(flip=0.5),
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, ema_decay=0.995, clip_norm=1.0),
        run=RunConfig(folder="runs/elevest_furniture_112", steps=1000, log_every=20, preview_every=0),
    )
