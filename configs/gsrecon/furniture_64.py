"""Four posed pictures of an object, seen at 64², to a splat of 16,384 Gaussians, by a small reconstructor.

    python scripts/prepare_sweethome3d.py --out data/furniture_rings_128
    python -m diffgs_jax.train --config configs/gsrecon/furniture_64.py

A store of records with any views will do (`--data.path`): four at steps of a quarter turn are the input, as nearly as
there are such, and others are compared with renderings. 2.6 million parameters are 5.2 MB in bfloat16, before
compression. It has been trained for 185 steps so far, and not been scored.

1,400 steps (`--run.steps 1400`) score 18.1 dB on the box of the 95 test objects' views off the ring, LPIPS (VGG) 0.18:
the model `bundled:four_pictures`. The schedule below, of 10,000 steps, was not run to its end.

Colours, silhouettes and rays only, so any pictures with known cameras will do. A Gaussian starts where its pixel's ray
enters the visual hull of the four silhouettes: that alone, without any training, scores 16.1 dB on the bounding box of
19 test objects seen from elsewhere, 18.4 dB if it is put 0.06 deeper (the true depth: 19.6 dB), and a small network has
to learn what is left. The scales of its Gaussians go from a tenth of a pixel's footprint at the object's distance
(2 · 2.7 · tan 25° / 64 = 0.039) to that footprint.
"""

from diffgs_jax.config import OptimizerConfig, RunConfig, SamplingConfig, TrainConfig
from diffgs_jax.data import DataConfig, ViewChoice
from diffgs_jax.models.gsrecon import GSReconConfig, ReconstructionLossConfig, ReconstructorConfig
from diffgs_jax.models.splat_grid import SplatGridConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    return TrainConfig(
        model=GSReconConfig(
            network=ReconstructorConfig(
                width=384,
                layers=2,
                heads=6,
                hidden=384,
                patch_size=8,
                maps=("silhouettes",),
                color_skip=True,
                hull_skip=True,
                unroll=True,
            ),
            grid=SplatGridConfig(smallest_scale=0.004, largest_scale=0.04, places="centers"),
            losses=ReconstructionLossConfig(
                perceptual=0.1,
                perceptual_network="alex",
                perceptual_size=0,
                perceptual_images=4,
                perceptual_warmup=(300, 1200),
                depth=0.1,
                supervised_inputs=1,
            ),
        ),
        data=DataConfig(
            path="data/furniture_rings_128",
            resolution=64,
            batch_size=8,
            condition_views=4,
            noisy_views=0,
            novel_views=2,
            view_choice=ViewChoice(kind="even"),
        ),
        optimizer=OptimizerConfig(learning_rate=6e-4, warmup_steps=100, ema_decay=0.998),
        run=RunConfig(folder="runs/gsrecon_furniture_64", steps=10000, checkpoint_every=250, preview_every=500),
        sampling=SamplingConfig(filter=0.0),
    )
