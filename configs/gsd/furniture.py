"""Diffusion over sets of 1,024 Gaussians, fitted to furniture: objects from noise, guided by pictures if there are any.

    python scripts/prepare_sweethome3d.py --out data/furniture_128 --ring-views 0 --views 32 --maps
    python scripts/gsd/fit_objects.py --data data/furniture_128 --out data/furniture_sets
    python -m diffgs_jax.train --config configs/gsd/furniture.py
    python -m diffgs_jax.sample --checkpoint runs/gsd_furniture --samples 8 --out imagined
    python -m diffgs_jax.sample --checkpoint runs/gsd_furniture --image chair.png --azimuth 30 --out guided

The statistics by which numbers are normalised are read from the sets' store and travel in the checkpoint. With classes,
by names that captions contain: `--data.labels chair table --model.classes 2 --model.condition-dropout 0.1`.

50,000 steps of 8 sets on two CPU cores: not yet measured (an H100 is what it is for). Score: not yet measured.
"""

import pathlib

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.models.gsd import GSDConfig, SetNetworkConfig, SetStatistics, read_statistics

SETS = "data/furniture_sets"


def get_config() -> TrainConfig:
    """Returns the settings.

    The statistics are those of the sets; before they are made, rough ones of furniture.
    """
    is_made = (pathlib.Path(SETS) / "index.json").exists()
    statistics = read_statistics(SETS) if is_made else SetStatistics()
    return TrainConfig(
        model=GSDConfig(gaussians=1024, network=SetNetworkConfig(width=256, layers=8, heads=4), statistics=statistics),
        data=DataConfig(
            path=SETS,
            resolution=64,
            batch_size=8,
            condition_views=0,
            noisy_views=1,
            novel_views=1,
            object_frame="record",
        ),
        optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=500, ema_decay=0.9995),
        run=RunConfig(
            folder="runs/gsd_furniture", steps=50_000, checkpoint_every=1000, preview_every=2000, preview_steps=50
        ),
    )
