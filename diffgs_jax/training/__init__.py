"""The training step, its state, checkpoints and logs."""

from diffgs_jax.training.cluster import is_main, join_cluster
from diffgs_jax.training.exams import make_grid, make_scorer
from diffgs_jax.training.grids import make_grid_sampler, tile_images
from diffgs_jax.training.guard import skip_spikes
from diffgs_jax.training.health import Taken, check_health
from diffgs_jax.training.logs import RunLog, close_log, log_image, log_metrics, open_log
from diffgs_jax.training.preemption import EXIT_CODE, watch_preemption
from diffgs_jax.training.provenance import write_provenance
from diffgs_jax.training.sharding import batch_sharding, make_mesh, place, replicated, state_shardings
from diffgs_jax.training.state import Params, TrainState, init_state, make_optimizer
from diffgs_jax.training.step import Loss, make_train_step
from diffgs_jax.training.utilisation import model_flops_utilisation, program_bytes, state_bytes

__all__ = [
    "EXIT_CODE",
    "Loss",
    "Params",
    "RunLog",
    "Taken",
    "TrainState",
    "batch_sharding",
    "check_health",
    "close_log",
    "init_state",
    "is_main",
    "join_cluster",
    "log_image",
    "log_metrics",
    "make_grid",
    "make_grid_sampler",
    "make_mesh",
    "make_optimizer",
    "make_scorer",
    "make_train_step",
    "model_flops_utilisation",
    "open_log",
    "place",
    "program_bytes",
    "replicated",
    "skip_spikes",
    "state_bytes",
    "state_shardings",
    "tile_images",
    "watch_preemption",
    "write_provenance",
]
