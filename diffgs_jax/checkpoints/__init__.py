"""Checkpoints: written whole or not at all, and read back on any number of devices."""

from diffgs_jax.checkpoints.orbax_files import (
    Save,
    latest_step,
    load_weights,
    open_checkpoints,
    read_metadata,
    restore_checkpoint,
    save_weights,
)

__all__ = [
    "Save",
    "latest_step",
    "load_weights",
    "open_checkpoints",
    "read_metadata",
    "restore_checkpoint",
    "save_weights",
]
