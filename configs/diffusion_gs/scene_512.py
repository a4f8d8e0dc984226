"""Stage two on scenes, 512²: the network of stage one, which takes any resolution, goes on from its weights.

    python -m diffgs_jax.train --config configs/diffusion_gs/scene_512.py --data.path data/re10k

Published code (diffusionGS_scene_512.yaml): as stage one, with batch 12 a GPU. Four times the tokens (16,386 a
sample) and Gaussians (1,048,578): on 8 GPUs four parts a batch, three samples on each GPU at a time. Not trained by us;
see `configs/diffusion_gs/scene_256.py`.
"""

import dataclasses
import pathlib

from diffgs_jax.config import TrainConfig, load_config


def get_config() -> TrainConfig:
    """Returns the settings."""
    stage_one = load_config(pathlib.Path(__file__).with_name("scene_256.py"))
    return dataclasses.replace(
        stage_one,
        data=dataclasses.replace(stage_one.data, resolution=512, batch_size=96),
        optimizer=dataclasses.replace(stage_one.optimizer, accumulate=4),
        run=dataclasses.replace(stage_one.run, folder="runs/scene_512", init_from="runs/scene_256"),
    )
