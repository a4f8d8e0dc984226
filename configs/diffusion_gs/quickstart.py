"""A small model on the furniture shard in the repository: see the whole machine run on a laptop.

    python -m diffgs_jax.train --config configs/diffusion_gs/quickstart.py

The network that the bundled model began as, on 149 training objects: 2,000 steps of 8 samples. On two CPU cores a
step of this size took between a third of a second and a second, by how busy they were, so expect 10 to 35 minutes.
The first grid of test objects comes at step 500 and shows coloured fog; shapes follow. To start from the bundled
model instead: `configs/diffusion_gs/finetune_64.py`.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, DistanceLaw, GaussianConfig, LossConfig, NetworkConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DiffusionGSConfig(
            network=NetworkConfig(width=256, layers=6, heads=4, patch_size=8, stride=2),
            # A scale of 0.7 of a Gaussian's pixel footprint at the object's distance: 0.7 · 2 · 2.7 · tan 25° · 2 / 64.
            gaussians=GaussianConfig(
                object_distance=DistanceLaw(kind="reference_point", reach=1.2), scale_offset=-2.9, opacity_offset=-1.0
            ),
            losses=LossConfig(distance_warmup=60, supervised_noisy_views=2, alpha=1.0),
        ),
        data=DataConfig(path="assets/furniture_cc0", resolution=64, batch_size=8),
        optimizer=OptimizerConfig(learning_rate=4e-4, warmup_steps=100),
        run=RunConfig(folder="runs/quickstart", steps=2000),
    )
