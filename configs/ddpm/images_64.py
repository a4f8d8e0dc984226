"""Plain diffusion of images from a folder of one's own, at 64 × 64 pixels.

    python -m diffgs_jax.train --config configs/ddpm/images_64.py --data.path FOLDER
    python -m diffgs_jax.sample --checkpoint runs/ddpm_images_64 --samples 64 --out samples

PNG, JPEG and WebP files, also in folders below; docs/datasets.md says what becomes of them. With classes, here by the
names of the folders below, and guidance towards one of them:

    … --data.labels cat dog --model.classes 2 --model.condition-dropout 0.1

52 M parameters, meant for one GPU (`--model.network.dtype bfloat16` makes it faster there). It was not trained to the
end here, so there is no score to expect. For a CPU, `furniture_32.py` has a smaller network.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import CameraAugmentation, DataConfig
from diffgs_jax.diffusion import ScheduleConfig
from diffgs_jax.models.ddpm import DDPMConfig, UNetConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=DDPMConfig(
            network=UNetConfig(
                channels=96, multipliers=(1, 2, 3, 4), blocks=2, attention_levels=(2, 3), injection="scale_shift"
            ),
            schedule=ScheduleConfig(name="squaredcos_cap_v2"),
        ),
        data=DataConfig(
            path="data/images",
            resolution=64,
            batch_size=128,
            condition_views=0,
            noisy_views=1,
            novel_views=0,
            augmentation=CameraAugmentation(flip=0.5),
            cache_gigabytes=8.0,
            threads=8,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-4, warmup_steps=5000, ema_decay=0.9999, clip_norm=1.0),
        run=RunConfig(folder="runs/ddpm_images_64", steps=200_000, preview_every=5000, preview_objects=8),
        sampling=SamplingConfig(sampler="ddpm", steps=250),
    )
