"""Adds up rows that belong together in plain JAX, in a fixed order: what a scatter-add does not promise on a GPU.

The rows, ordered by owner, are cut into blocks of a fixed length. One scan walks through all blocks side by side and
keeps the running sum of the owner it is at; what an owner has gathered before a block began is the running sum over
blocks, found in the same way. So the work does not depend on how unevenly rows are spread over owners.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

_BLOCK = 64


def add_rows(
    rows: Float[Array, "entries columns"], owners: Int32[Array, "m 4"], sums: Float[Array, "m columns"]
) -> Float[Array, "m columns"]:
    """Adds the rows of each owner to its sum; takes as much memory as the rows while it lasts.

    Args:
        rows: of every owner one behind the other.
        owners: as in `_kernels.blend_pass_backward`.
        sums: so far.
    """
    entries, columns = rows.shape
    if entries == 0:
        return sums
    first, length = owners[:, 2], owners[:, 3]
    is_first = jnp.zeros(entries, bool).at[jnp.where(length > 0, first, entries)].set(True, mode="drop")
    running = _running_sums(rows, is_first)
    last = first + length - 1
    totals = running.at[last % _BLOCK, last // _BLOCK].get(mode="clip")
    return sums + jnp.where((length > 0)[:, None], totals, 0.0)


def _running_sums(
    rows: Float[Array, "entries columns"], is_first: Bool[Array, "entries"]
) -> Float[Array, "steps blocks columns"]:
    """Returns the sum of rows from the last first one up to each, as `_by_step` arranges them."""
    columns = rows.shape[1]
    starts = _by_step(is_first)
    blocks = starts.shape[1]
    first_of_block = jnp.arange(blocks, dtype=jnp.int32) * _BLOCK

    def append(before: tuple[Array, Array], entry: tuple[Array, Array]) -> tuple[tuple, tuple]:
        total, is_cut = before
        step, is_first = entry
        row = rows.at[first_of_block + step].get(mode="clip")
        after = (row + jnp.where(is_first[:, None], 0.0, total), is_cut | is_first)
        return after, after

    steps = jnp.arange(_BLOCK, dtype=jnp.int32)
    empty = (jnp.zeros((blocks, columns), rows.dtype), jnp.zeros(blocks, bool))
    (totals, are_cut), (running, is_cut) = jax.lax.scan(append, empty, (steps, starts))
    if blocks == 1:
        return running
    gathered = _running_sums(totals, are_cut)
    gathered = gathered.swapaxes(0, 1).reshape(-1, columns)[: blocks - 1]
    gathered = jnp.concatenate([jnp.zeros((1, columns), rows.dtype), gathered])
    return running + jnp.where(is_cut[..., None], 0.0, gathered[None])


def _by_step(values: Array) -> Array:
    """Cuts `[entries]` into blocks: `[steps, blocks]`, step by step through all of them."""
    padded = jnp.pad(values, (0, -len(values) % _BLOCK))
    return padded.reshape(-1, _BLOCK).T
