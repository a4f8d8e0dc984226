"""The paper's ablation at the size of a laptop, 32² views; `ablate.py` changes it from row to row.

    python scripts/diffusion_gs/ablate.py --data data/furniture_128 --out runs/ablation

A small network (width 192, 4 blocks, patch 8, one Gaussian for 2 × 2 pixels), because an ablation needs several
trainings of equal length more than it needs one long one. These are the settings of its last row: RPPC, L_pd to begin
with, objects and rooms together.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig, SceneViewLimits
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
            network=NetworkConfig(width=192, layers=4, heads=4, patch_size=8, stride=2, domains=("object", "scene")),
            gaussians=GaussianConfig(
                object_distance=DistanceLaw(kind="reference_point", reach=1.2),
                scene_distance=DistanceLaw(kind="near_far", near=0.0, far=8.0),
                scale_offset=-2.2,
                opacity_offset=-1.0,
            ),
            diffusion=DiffusionConfig(timestep_shift=2.0),
            losses=LossConfig(distance_warmup=60, supervised_noisy_views=2, alpha=0.5),
        ),
        data=DataConfig(
            sources=(("data/furniture_128", 3.0), ("assets/rooms_cc0", 1.0)),
            resolution=32,
            batch_size=8,
            scene_limits=SceneViewLimits(noisy_frames=(2, 12), novel_frames=(1, 14)),
        ),
        optimizer=OptimizerConfig(kind="muon", learning_rate=8e-4, warmup_steps=200),
        run=RunConfig(folder="runs/ablation_32", steps=2000, preview_every=1000, preview_steps=10),
    )
