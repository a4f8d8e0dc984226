from .cluster import is_main, join_cluster
from .guard import skip_spikes
from .health import StepRecord, check_health
from .logs import RunLog, close_log, log_image, log_metrics, open_log
from .preemption import EXIT_CODE, watch_preemption
from .previews import make_preview, preview
from .provenance import write_provenance
from .sharding import batch_sharding, gather, make_mesh, place, replicated, state_shardings
from .state import TrainState, init_state, make_optimizer, state_from_parts, state_to_parts
from .step import Loss, make_train_step
from .utilisation import model_flops_utilisation, program_bytes, state_bytes

__all__ = [
    "EXIT_CODE",
    "Loss",
    "RunLog",
    "StepRecord",
    "TrainState",
    "batch_sharding",
    "check_health",
    "close_log",
    "gather",
    "init_state",
    "is_main",
    "join_cluster",
    "log_image",
    "log_metrics",
    "make_mesh",
    "make_optimizer",
    "make_preview",
    "make_train_step",
    "preview",
    "model_flops_utilisation",
    "open_log",
    "place",
    "program_bytes",
    "replicated",
    "skip_spikes",
    "state_bytes",
    "state_from_parts",
    "state_shardings",
    "state_to_parts",
    "watch_preemption",
    "write_provenance",
]
