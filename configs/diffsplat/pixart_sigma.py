"""DiffSplat from PixArt-Σ: a prompt to a splat of 4 × 256² Gaussians (Lin et al. 2025).

    python -m diffgs_jax.train --config configs/diffsplat/pixart_sigma.py --run.init-from IMPORTED_BASE

Published: 128 samples a step of 83,296 objects on 8 A100, released after 13,020 steps; then the same with a rendering
loss, going on from the first: `--model.losses.render-probability 1 --run.init-from runs/diffsplat_pixart_sigma`.
Not run here. docs/diffsplat.md says which checkpoints it needs and how to show it a view beside the prompt.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models.diffsplat import (
    PUBLISHED_DISTANCE,
    PUBLISHED_ELEVATION,
    PUBLISHED_FOV,
    FrozenConfig,
    published_diffsplat,
    published_sampling,
)


def get_config() -> TrainConfig:
    """Returns the settings."""
    usual = published_sampling("pixart_sigma")
    return TrainConfig(
        model=published_diffsplat(
            "pixart_sigma",
            prompts="data/prompts_pixart_sigma.npz",
            frozen=FrozenConfig("runs/gsrecon", "runs/gsvae_sdxl", "runs/vae_sdxl"),
        ),
        data=DataConfig(
            path="data/gobjaverse",
            resolution=256,
            batch_size=128,
            condition_views=0,
            noisy_views=4,
            novel_views=4,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(
            learning_rate=1e-4,
            warmup_steps=1000,
            final_fraction=1.0,  # constant, as the code has it; the paper says cosine
            weight_decay=0.01,
            beta2=0.999,
            clip_norm=1.0,
            ema_decay=0.9999,
            ema_power=0.75,
            accumulate=2,
        ),
        run=RunConfig(folder="runs/diffsplat_pixart_sigma", steps=13_020, preview_every=1000, checkpoint_every=1000),
        rig=ObjectRig(PUBLISHED_ELEVATION, PUBLISHED_DISTANCE, PUBLISHED_FOV, (0.0, 90.0, 180.0, 270.0)),
        sampling=SamplingConfig(sampler=usual.sampler, steps=usual.steps, guidance=(usual.guidance,), filter=0.0),
    )
