"""One model for zero to four pictures of an object: what is not given is imagined.

    python scripts/prepare_sweethome3d.py --out data/furniture_128 --ring-views 0 --views 32 --maps
    python -m diffgs_jax.train --config configs/diffusion_gs/any_views_64.py
    python -m diffgs_jax.sample --checkpoint runs/any_views_64 --out imagined                      # no picture
    python -m diffgs_jax.sample --checkpoint runs/any_views_64 --image chair.png --out from_one
    python -m diffgs_jax.sample --checkpoint runs/any_views_64 --image transforms.json --out from_several

A sample has five views; none to four of them are clean, drawn for each sample, and the others are denoised. A noisy
view is rendered without its own Gaussians for its own loss, as IB-planes does (Anciukevičius et al. 2024): with
`--model.losses.leave-out-own 0` or `0.5` never or half of the time, with `--model.losses.leave-out-own-and-conditions`
without those of the clean views too. docs/any-views.md says what is known of either.

5,000 steps of 8 samples on two CPU cores: not yet measured. Score: not yet measured.
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
            # As in furniture_64.py
            gaussians=GaussianConfig(
                object_distance=DistanceLaw(kind="reference_point", reach=1.2), scale_offset=-2.9, opacity_offset=-1.0
            ),
            diffusion=DiffusionConfig(timestep_shift=2.0),
            losses=LossConfig(
                distance_warmup=60, supervised_noisy_views=2, alpha=0.5, leave_out_own=1.0, log_shares=True
            ),
            condition_views=(0, 4),
        ),
        data=DataConfig(
            path="data/furniture_128",
            resolution=64,
            batch_size=8,
            fewest_condition_views=0,
            condition_views=4,
            noisy_views=1,
        ),
        optimizer=OptimizerConfig(learning_rate=6e-4, warmup_steps=200, ema_decay=0.998),
        run=RunConfig(
            folder="runs/any_views_64", steps=5000, checkpoint_every=250, preview_every=500, preview_steps=10
        ),
    )
