from .json_form import flatten, from_dict, to_dict
from .loading import apply_overrides, load_config
from .parsing import parse_options
from .run import ClusterConfig, MeshConfig, OptimizerConfig, RunConfig, SamplingConfig
from .train_config import TrainConfig, background_of, check

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
