"""The settings of a whole run: data only. Importing it is cheap."""

from diffgs_jax.config.json_form import flatten, from_dict, to_dict
from diffgs_jax.config.loading import apply_overrides, load_config
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.config.run import ClusterConfig, MeshConfig, OptimizerConfig, RunConfig, SamplingConfig
from diffgs_jax.config.train_config import TrainConfig, background_of, check

__all__ = [
    "ClusterConfig",
    "MeshConfig",
    "OptimizerConfig",
    "RunConfig",
    "SamplingConfig",
    "TrainConfig",
    "apply_overrides",
    "background_of",
    "check",
    "flatten",
    "from_dict",
    "load_config",
    "parse_options",
    "to_dict",
]
