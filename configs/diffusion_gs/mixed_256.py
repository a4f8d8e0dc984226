"""Objects and scenes together, 256²: one trunk, two decoders (Cai et al. 2025, scene-object mixed training).

    python -m diffgs_jax.train --config configs/diffusion_gs/mixed_256.py --data.sources data/objects_256 1 data/re10k 1

The paper trains so first, and then goes on with objects and scenes apart: `--config configs/diffusion_gs/object_256.py
--run.init-from runs/mixed_256 --model.network.domains object scene` keeps both decoders. L_pd moves objects alone in
the first 150 steps. The paper bounds by angles which views go together; the limits below are our choice. The public
code has no mixed training. Not trained by us at this size: no hardware was at hand; `mixed_64.py` beside it is the same
at the size of a laptop.
"""

import dataclasses
import pathlib

from diffgs_jax.config import TrainConfig, load_config
from diffgs_jax.data import ObjectViewLimits, SceneViewLimits
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig


def get_config() -> TrainConfig:
    """Returns the settings."""
    objects = load_config(pathlib.Path(__file__).with_name("object_256.py"))
    assert isinstance(objects.model, DiffusionGSConfig)
    network = dataclasses.replace(objects.model.network, domains=("object", "scene"))
    return dataclasses.replace(
        objects,
        model=dataclasses.replace(objects.model, network=network),
        data=dataclasses.replace(
            objects.data,
            sources=(("data/objects_256", 1.0), ("data/re10k", 1.0)),
            batch_size=64,
            object_limits=ObjectViewLimits(noisy_position=120.0, novel_position=120.0),
            scene_limits=SceneViewLimits(noisy_direction=60.0, novel_direction=60.0, noisy_frames=(5, 60)),
        ),
        optimizer=dataclasses.replace(objects.optimizer, learning_rate=3e-5),
        run=dataclasses.replace(objects.run, folder="runs/mixed_256"),
    )
