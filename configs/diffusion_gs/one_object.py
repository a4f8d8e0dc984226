"""One object, learned by heart: what `scripts/overfit_one_object.py` trains to see whether the whole machine learns.

    python scripts/overfit_one_object.py

The network of furniture_64.py with one Gaussian for every pixel: with one for 2 × 2 an object's 64² view consists of
some thousand blobs, too coarse to be sharp. The object, the batches and the schedule come from the script.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, DistanceLaw, GaussianConfig, LossConfig, NetworkConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DiffusionGSConfig(
            network=NetworkConfig(width=256, layers=6, heads=4, patch_size=8, stride=1),
            # A scale of 0.7 of a Gaussian's pixel footprint at the object's distance: 0.7 · 2 · 2.7 · tan 25° / 64.
            gaussians=GaussianConfig(
                object_distance=DistanceLaw(kind="reference_point", reach=1.2), scale_offset=-3.6, opacity_offset=-1.0
            ),
            losses=LossConfig(distance_warmup=60, alpha=0.2),
        ),
        data=DataConfig(path="assets/furniture_cc0", resolution=64, batch_size=1, novel_views=8),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, ema_decay=0.99),
        run=RunConfig(folder="runs/one_object", steps=3000),
    )
