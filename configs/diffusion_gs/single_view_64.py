"""A generator of 3D objects that has seen one picture of each, ever (after RenderDiffusion, arXiv 2211.09869).

    python scripts/prepare_sweethome3d.py --out data/furniture_128 --ring-views 0 --views 32 --maps
    python -m diffgs_jax.train --config configs/ddpm/single_views_64.py                  # the prior
    python -m diffgs_jax.train --config configs/diffusion_gs/single_view_64.py
    python -m diffgs_jax.sample --checkpoint runs/single_view_64 --samples 8 --out imagined
    python -m diffgs_jax.sample --checkpoint runs/single_view_64 --image chair.png --reconstruct 0.5 --out of_chair

Of every record one view is used, for ever, chosen by a hash of its name: it is noised, denoised by way of Gaussians,
and the loss is that view's alone. Objects keep the axes of their records, in which they face one way, so that the
backs of some are the views of others. 512 free Gaussians can fill what the one view does not show. Score distillation
on novel views comes from a diffusion model of images that has seen the same views and no others; without one:
`--model.losses.prior.weight 0`. Numbers are our own choice: the paper's network is another (docs/single-views.md).

10,000 steps of 16 samples on two CPU cores: not yet measured. Score: not yet measured.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models.diffusion_gs import (
    DiffusionConfig,
    DiffusionGSConfig,
    DistanceLaw,
    GaussianConfig,
    LossConfig,
    NetworkConfig,
    NovelPriorConfig,
)


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DiffusionGSConfig(
            network=NetworkConfig(
                width=256, layers=6, heads=4, patch_size=8, stride=2, free_gaussians=512, free_per_token=16
            ),
            # As in furniture_64.py; free ones start all over the object
            gaussians=GaussianConfig(
                object_distance=DistanceLaw(kind="reference_point", reach=1.2),
                scale_offset=-2.9,
                opacity_offset=-1.0,
                free_spread=0.7,
            ),
            diffusion=DiffusionConfig(timestep_shift=2.0),
            losses=LossConfig(
                distance_warmup=60,
                alpha=0.5,
                prior=NovelPriorConfig(checkpoint="runs/single_views_ddpm_64", weight=0.1, step=1000),
            ),
            condition_views=(0, 0),
        ),
        data=DataConfig(
            path="data/furniture_128",
            resolution=64,
            batch_size=16,
            condition_views=0,
            noisy_views=1,
            novel_views=0,
            view_choice=ViewChoice(kind="fixed_view"),
            object_frame="record",
        ),
        optimizer=OptimizerConfig(learning_rate=6e-4, warmup_steps=200, ema_decay=0.998),
        run=RunConfig(
            folder="runs/single_view_64", steps=10_000, checkpoint_every=500, preview_every=1000, preview_steps=10
        ),
        rig=ObjectRig(azimuths=(0.0,)),
    )
