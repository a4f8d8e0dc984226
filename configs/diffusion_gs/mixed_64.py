"""Objects and scenes together at the size of a laptop: one trunk, two decoders, the two shards in this repository.

    python -m diffgs_jax.train --config configs/diffusion_gs/mixed_64.py

The network of furniture_64.py with a second decoder, on 149 objects and 3 rooms, sample by sample in turns. Rooms
come in the frame of their first camera, scaled so that cameras stay within 0.74 of the origin: their walls are a few
units away, so scenes look for Gaussians between 0 and 8 instead of the published 500. L_pd moves objects alone.
Not trained to its end by us so far; `tests/training/test_mixed.py` sees both losses fall in a smaller one.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig, SceneViewLimits
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, DistanceLaw, GaussianConfig, LossConfig, NetworkConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DiffusionGSConfig(
            network=NetworkConfig(width=256, layers=6, heads=4, patch_size=8, stride=2, domains=("object", "scene")),
            gaussians=GaussianConfig(
                object_distance=DistanceLaw(kind="reference_point", reach=1.2),
                scene_distance=DistanceLaw(kind="near_far", near=0.0, far=8.0),
                scale_offset=-2.9,
                opacity_offset=-1.0,
            ),
            losses=LossConfig(distance_warmup=60, supervised_noisy_views=2, alpha=0.5),
        ),
        data=DataConfig(
            sources=(("assets/furniture_cc0", 1.0), ("assets/rooms_cc0", 1.0)),
            resolution=64,
            batch_size=8,
            scene_limits=SceneViewLimits(noisy_frames=(2, 12), novel_frames=(1, 14)),
        ),
        optimizer=OptimizerConfig(learning_rate=4e-4, warmup_steps=100),
        run=RunConfig(folder="runs/mixed_64", steps=4000),
    )
