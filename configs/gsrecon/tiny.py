"""Four posed pictures of furniture at 32² to a splat: minutes, to try the chain of docs/diffsplat-training.md.

python -m diffgs_jax.train --config configs/gsrecon/tiny.py
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.models.gsrecon import GSReconConfig, ReconstructionLossConfig, ReconstructorConfig
from diffgs_jax.models.splat_grid import SplatGridConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=GSReconConfig(
            network=ReconstructorConfig(width=96, layers=2, heads=3, hidden=192, patch_size=4, color_skip=True),
            grid=SplatGridConfig(smallest_scale=0.008, largest_scale=0.2, places="centers"),
            losses=ReconstructionLossConfig(perceptual=0.0, supervised_inputs=1),
        ),
        data=DataConfig(
            resolution=32,
            batch_size=4,
            condition_views=4,
            noisy_views=0,
            novel_views=1,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=50, ema_decay=0.98),
        run=RunConfig(folder="runs/tiny/gsrecon", steps=200, checkpoint_every=50, preview_every=0),
        sampling=SamplingConfig(filter=0.0),
    )
