"""Stage two on objects, 512²: the network of stage one, which takes any resolution, goes on from its weights.

    python -m diffgs_jax.train --config configs/diffusion_gs/object_512.py --data.path data/objects_512

Published code (diffusionGS_rel_512.yaml): as stage one, but without L_pd. Four times the tokens (16,386 a sample) and
Gaussians (1,048,578): on 8 GPUs two parts a batch, one sample on each GPU at a time. Not trained by us; see
`configs/diffusion_gs/object_256.py`.
"""

import dataclasses
import pathlib

from diffgs_jax.config import TrainConfig, load_config
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    stage_one = load_config(pathlib.Path(__file__).with_name("object_256.py"))
    assert isinstance(stage_one.model, DiffusionGSConfig)
    losses = dataclasses.replace(stage_one.model.losses, distance_warmup=0)
    return dataclasses.replace(
        stage_one,
        model=dataclasses.replace(stage_one.model, losses=losses),
        data=dataclasses.replace(stage_one.data, path="data/objects_512", resolution=512, batch_size=16),
        optimizer=dataclasses.replace(stage_one.optimizer, accumulate=2),
        run=dataclasses.replace(stage_one.run, folder="runs/object_512", init_from="runs/object_256"),
    )
