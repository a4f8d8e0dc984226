"""Stage one on scenes, 256²: RealEstate10K or DL3DV, converted by `scripts/convert_dataset.py`.

    python scripts/convert_dataset.py --source realestate10k --in re10k --out data/re10k
    python -m diffgs_jax.train --config configs/diffusion_gs/scene_256.py --data.path data/re10k

Published code (diffusionGS_scene.yaml): the network of objects with Plücker rays and distances in [0, 500], 4 views of
a video, batch 24 a GPU, AdamW 3e-5 with betas 0.9 and 0.95, decay 0.05, cosine of 500,000 steps to 1e-6, clip 0.5,
MSE + 0.1 · LPIPS, no L_pd. The same here, but for bfloat16, native initialisation and condition channel. The batch is
that of 8 GPUs. Not trained by us: no hardware was at hand.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, LossConfig, NetworkConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DiffusionGSConfig(
            network=NetworkConfig(
                width=1024,
                layers=24,
                heads=16,
                patch_size=8,
                domains=("scene",),
                ray_embedding="plucker",
                modulation="block",
                dtype="bfloat16",
                attention="cudnn",
                remat=True,
            ),
            losses=LossConfig(perceptual=0.1),
        ),
        data=DataConfig(path="data/re10k", resolution=256, batch_size=192, threads=16, cache_gigabytes=0.0),
        optimizer=OptimizerConfig(
            learning_rate=3e-5,
            warmup_steps=0,
            final_fraction=1 / 30,
            weight_decay=0.05,
            clip_norm=0.5,
            ema_decay=0.9999,
        ),
        run=RunConfig(folder="runs/scene_256", steps=500_000, log_every=50, preview_every=5000, checkpoint_every=1000),
    )
