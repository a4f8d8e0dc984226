"""The settings of a whole run: data only. Importing it is cheap."""

from diffgs_jax.config.run import ClusterConfig, MeshConfig, OptimizerConfig, RunConfig
from diffgs_jax.config.train_config import (
    SamplingConfig,
    TrainConfig,
    apply_overrides,
    check,
    flatten,
    from_dict,
    load_config,
    to_dict,
)

__all__ = [
    "ClusterConfig",
    "MeshConfig",
    "OptimizerConfig",
    "RunConfig",
    "SamplingConfig",
    "TrainConfig",
    "apply_overrides",
    "check",
    "flatten",
    "from_dict",
    "load_config",
    "to_dict",
]
