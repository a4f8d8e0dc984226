"""Checkpoints: written whole or not at all, checked when they are read, and read on any number of devices.

A checkpoint folder holds one folder a step. A checkpoint has parts, each a tree of arrays of its own: `ema`, the
weights that samples are drawn from, and in a training run `state`, what it takes to continue. Metadata (the config,
the data position, counters) goes with them. So sampling reads `ema` and the config and nothing else, and a published
checkpoint consists of them alone.
"""

from diffgs_jax.checkpoints.reading import latest_step, load_weights, read_metadata, restore_checkpoint
from diffgs_jax.checkpoints.writing import Save, open_checkpoints, save_streamed, save_weights

__all__ = [
    "Save",
    "latest_step",
    "load_weights",
    "open_checkpoints",
    "read_metadata",
    "restore_checkpoint",
    "save_streamed",
    "save_weights",
]
