"""Another side of a piece of furniture, seen at 32², by a small Zero-1-to-3 that diffuses pixels.

    python scripts/prepare_sweethome3d.py --out data/furniture_128
    python -m diffgs_jax.train --config configs/zero123/furniture_32.py
    python -m diffgs_jax.optimize distil --checkpoints runs/zero123_furniture_32 --image chair.png --out chair

As published but for its size, what it diffuses, and two choices that suit few steps: it predicts v instead of the
noise, and an encoder that is trained with it takes CLIP's place.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import ScheduleConfig
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.zero123 import PatchEncoderConfig, Zero123Config


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=Zero123Config(
            unet=LatentUNetConfig(
                channels=(16, 48, 96), blocks=1, depths=(0, 1, 1), heads=(1, 2, 4), groups=8, text_width=96
            ),
            encoder="learned",
            patches=PatchEncoderConfig(patch_size=4, width=128),
            channels=3,
            downsampling=1,
            latent_scale=1.0,
            schedule=ScheduleConfig(name="squaredcos_cap_v2"),
            prediction="v",
            clip_x0=True,
        ),
        data=DataConfig(
            path="data/furniture_128",
            resolution=32,
            batch_size=8,
            condition_views=1,
            noisy_views=4,
            novel_views=0,
            threads=1,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, ema_decay=0.998, clip_norm=1.0),
        run=RunConfig(
            folder="runs/zero123_furniture_32", steps=4000, checkpoint_every=250, preview_every=500, preview_objects=8
        ),
        sampling=SamplingConfig(sampler="ddim", steps=25),
    )
