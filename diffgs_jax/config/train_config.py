"""The settings of a whole run, and what they must agree on."""

import dataclasses

from diffgs_jax.config.run import ClusterConfig, MeshConfig, OptimizerConfig, RunConfig, SamplingConfig
from diffgs_jax.data.config import DataConfig
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models.bundles import (
    ModelConfig,
)
from diffgs_jax.models.family import (
    family,
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on. What sampling needs of it travels inside every checkpoint."""

    model: ModelConfig
    """The model family and its settings."""
    data: DataConfig = DataConfig()
    """What is learned from."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How the weights move."""
    run: RunConfig = RunConfig()
    """How long, and what is written."""
    rig: ObjectRig = ObjectRig()
    """The cameras that sampling uses for an image without a pose."""
    sampling: SamplingConfig = SamplingConfig()
    """How the model is sampled from when the caller does not say."""
    mesh: MeshConfig = MeshConfig()
    """How devices share the work."""
    cluster: ClusterConfig = ClusterConfig()
    """How processes on several machines find each other."""


def background_of(config: TrainConfig) -> float:
    """Returns the grey level in [0, 1] that images are on: the model's, or the data's if the model takes any."""
    wanted = family(config.model).requirements(config.model).background
    return config.data.background if wanted is None else wanted


def check(config: TrainConfig) -> TrainConfig:
    """Returns the config, or refuses settings that contradict each other.

    Raises:
        UserError: names them in one line.
    """
    family(config.model).check(config.model, config.data)
    return config
