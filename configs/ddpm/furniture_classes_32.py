"""Plain diffusion of furniture of eight classes, with classifier-free guidance towards one of them.

    python scripts/prepare_sweethome3d.py --out data/furniture_128
    python -m diffgs_jax.train --config configs/ddpm/furniture_classes_32.py
    python -m diffgs_jax.sample --checkpoint runs/ddpm_classes_32 --label 1 --guidance 4 --samples 16 --out chairs

The network is that of `furniture_32.py` with classes. Not trained to the end here, so there is no score to expect;
`scripts/sweep_guidance.py` measures what guidance does.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import ScheduleConfig
from diffgs_jax.models.ddpm import DDPMConfig, UNetConfig

LABELS = ("armchair", "chair", "table", "sofa", "lamp", "door", "window", "cabinet")


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DDPMConfig(
            network=UNetConfig(channels=16, multipliers=(1, 2, 4, 8), blocks=1, attention_levels=(2,), groups=8),
            schedule=ScheduleConfig(name="squaredcos_cap_v2"),
            classes=len(LABELS),
            condition_dropout=0.1,
        ),
        data=DataConfig(
            path="data/furniture_128",
            resolution=32,
            batch_size=16,
            condition_views=0,
            noisy_views=1,
            novel_views=0,
            labels=LABELS,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, ema_decay=0.998, clip_norm=1.0),
        run=RunConfig(
            folder="runs/ddpm_classes_32", steps=6000, preview_every=1000, preview_objects=8, preview_steps=30
        ),
        sampling=SamplingConfig(sampler="ddpm", steps=250),
    )
