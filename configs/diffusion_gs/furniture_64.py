"""The bundled model's first run: one picture of an object, seen at 64², to a splat of 4,098 Gaussians.

    python scripts/prepare_sweethome3d.py --out data/furniture_128 --ring-views 0 --views 32 --maps
    python -m diffgs_jax.train --config configs/diffusion_gs/furniture_64.py
    python scripts/publish_checkpoint.py --run runs/furniture_64 --out my_model

5,000 steps of 8 samples on two CPU cores that were busy with other work too: 78 minutes, then 12.7 dB on the bounding
box of novel views of test objects (the best baseline that needs no learning: 11.6 dB). The bundled model went on from
there, with LPIPS in the end; docs/training-log.md has the commands.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.models.diffusion_gs import (
    DiffusionConfig,
    DiffusionGSConfig,
    DistanceLaw,
    GaussianConfig,
    LossConfig,
    NetworkConfig,
)


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DiffusionGSConfig(
            network=NetworkConfig(width=256, layers=6, heads=4, patch_size=8, stride=2),
            # A scale of 0.7 of a Gaussian's pixel footprint at the object's distance: 0.7 · 2 · 2.7 · tan 25° · 2 / 64.
            gaussians=GaussianConfig(
                object_distance=DistanceLaw(kind="reference_point", reach=1.2), scale_offset=-2.9, opacity_offset=-1.0
            ),
            diffusion=DiffusionConfig(timestep_shift=2.0),
            losses=LossConfig(distance_warmup=60, supervised_noisy_views=2, alpha=0.5),
        ),
        data=DataConfig(path="data/furniture_128", resolution=64, batch_size=8),
        optimizer=OptimizerConfig(learning_rate=6e-4, warmup_steps=200, ema_decay=0.998),
        run=RunConfig(
            folder="runs/furniture_64", steps=5000, checkpoint_every=250, preview_every=500, preview_steps=10
        ),
    )
