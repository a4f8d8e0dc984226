"""The training step, its state, checkpoints and logs."""

from diffgs_jax.training.checkpoints import (
    latest_step,
    load_weights,
    read_metadata,
    restore_checkpoint,
    save_checkpoint,
    save_weights,
)
from diffgs_jax.training.config import OptimizerConfig, RunConfig
from diffgs_jax.training.grids import make_grid_sampler, tile_images
from diffgs_jax.training.logs import RunLog, close_log, log_image, log_metrics, open_log
from diffgs_jax.training.state import Params, TrainState, init_state, make_optimizer
from diffgs_jax.training.step import Loss, make_train_step

__all__ = [
    "Loss",
    "OptimizerConfig",
    "Params",
    "RunConfig",
    "RunLog",
    "TrainState",
    "close_log",
    "init_state",
    "latest_step",
    "load_weights",
    "log_image",
    "log_metrics",
    "make_grid_sampler",
    "make_optimizer",
    "make_train_step",
    "open_log",
    "read_metadata",
    "restore_checkpoint",
    "save_checkpoint",
    "save_weights",
    "tile_images",
]
