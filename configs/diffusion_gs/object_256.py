"""Stage one on objects, 256²: the published network on any store of objects rendered at 256² or more.

    python scripts/render_objects.py --help        # a folder of meshes → data/objects_256
    python -m diffgs_jax.train --config configs/diffusion_gs/object_256.py --data.path data/objects_256

Published code (Open-DiffusionGS, diffusionGS_rel.yaml): 24 layers, width 1024, heads of 64, patch 8, 2 free Gaussians,
4 views in and 2 more to compare, batch 4 a GPU, AdamW 1e-5 with betas 0.9 and 0.99, cosine of 500,000 steps to 1e-6,
clip 0.5, L_pd alone for 150 steps, then MSE + 0.5 · LPIPS, half precision, activations recomputed. The same here, but
for bfloat16, native initialisation and condition channel, the object frame of this library instead of a mirrored world,
and no auxiliary loss on positions. The batch is that of 8 GPUs.

Not trained by us: no hardware for it was at hand. `tests/training/test_recipes.py` lowers and compiles the step.
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
                modulation="block",
                dtype="bfloat16",
                attention="cudnn",
                remat=True,
            ),
            losses=LossConfig(perceptual=0.5, distance_warmup=150),
        ),
        data=DataConfig(path="data/objects_256", resolution=256, batch_size=32, threads=16, cache_gigabytes=0.0),
        optimizer=OptimizerConfig(
            learning_rate=1e-5, warmup_steps=0, final_fraction=0.1, beta2=0.99, clip_norm=0.5, ema_decay=0.9999
        ),
        run=RunConfig(folder="runs/object_256", steps=500_000, log_every=50, preview_every=5000, checkpoint_every=1000),
    )
