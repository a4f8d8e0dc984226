"""The bundled model, trained on: with the objects of the repository, or with your own.

    python scripts/fetch_lpips.py                     # once, 64 MB
    python -m diffgs_jax.train --config configs/diffusion_gs/finetune_64.py --data.path data/mine

The architecture is that of the bundled model, the rest as in its last run (docs/training-log.md): Muon, LPIPS where
there is little noise, scheduled sampling. A step of 8 samples took 1.2 to 1.4 seconds on two CPU cores.
`--model.losses.perceptual 0` does without LPIPS, and without the first command.
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
            network=NetworkConfig(width=256, layers=6, heads=4, patch_size=8, color_skip=True),
            # As split_gaussians.py left them: half the scale of furniture_64.py, for four times the Gaussians.
            gaussians=GaussianConfig(
                object_distance=DistanceLaw(kind="reference_point", reach=1.2),
                scale_offset=-3.5931,
                scale_limit=-1.8931,
                opacity_offset=-1.0,
            ),
            diffusion=DiffusionConfig(scheduled_sampling=1.0),
            losses=LossConfig(
                perceptual=2.0,
                perceptual_signal_power=1.0,
                perceptual_images=8,
                alpha=1.0,
                condition_dropout=0.1,
                supervised_noisy_views=2,
            ),
        ),
        data=DataConfig(path="assets/furniture_cc0", resolution=64, batch_size=8),
        optimizer=OptimizerConfig(kind="muon", learning_rate=4e-4, warmup_steps=30, ema_decay=0.998),
        run=RunConfig(
            folder="runs/finetune_64", init_from="diffgs_jax/checkpoints/furniture", steps=2000, checkpoint_every=250
        ),
    )
