"""Several processes as one program: who they are, and which of them speaks."""

from typing import Any

import jax

from diffgs_jax.config import ClusterConfig
from diffgs_jax.errors import UserError


def join_cluster(config: ClusterConfig) -> None:
    """Connects this process with the others; must come before anything touches a device.

    Args:
        config: `auto` asks SLURM, Kubernetes, Open MPI or the cloud; `explicit` takes addresses as given.

    Raises:
        UserError: if the addresses are incomplete or the others do not answer.
    """
    if config.join == "none" or jax.distributed.is_initialized():
        return
    explicit: dict[str, Any] = {}
    if config.join == "explicit":
        if not config.coordinator or config.processes < 1 or not 0 <= config.process < config.processes:
            raise UserError(
                "cluster.join = explicit needs cluster.coordinator HOST:PORT, cluster.processes N and cluster.process "
                f"0 to N − 1, not {config.coordinator!r}, {config.processes} and {config.process}"
            )
        explicit = {
            "coordinator_address": config.coordinator,
            "num_processes": config.processes,
            "process_id": config.process,
        }
    try:
        jax.distributed.initialize(**explicit, initialization_timeout=config.timeout_seconds)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot join the cluster (cluster.join = {config.join}): {reason}") from error


def is_main() -> bool:
    """Returns whether this process writes logs, pictures and the progress bar."""
    return jax.process_index() == 0
