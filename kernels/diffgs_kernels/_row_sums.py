"""Adds up rows that belong together in plain JAX, in a fixed order: what a scatter-add does not promise on a GPU.

Sorted by owner, the rows are cut into blocks of a fixed length. One scan walks through all blocks side by side and
keeps the running sum of the owner it is at; what an owner has gathered before a block began is the running sum over
blocks, found in the same way. So the work does not depend on how unevenly rows are spread over owners.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

_BLOCK = 64


def sum_rows(
    rows: Float[Array, "entries columns"], owners: Int32[Array, "entries"], count: int
) -> Float[Array, "count columns"]:
    """Sums the rows of each owner; takes some two times the rows' own memory while it lasts.

    Args:
        rows: any finite numbers.
        owners: whose row it is; rows of owners outside [0, count) are left out.
        count: number of owners.
    """
    entries, columns = rows.shape
    sums = jnp.zeros((count, columns), rows.dtype)
    if entries == 0:
        return sums
    owners = jnp.where((owners >= 0) & (owners < count), owners, count)
    owners, order = jax.lax.sort((owners, jnp.arange(entries, dtype=jnp.int32)), num_keys=1, is_stable=True)
    is_new = owners[1:] != owners[:-1]
    edge = jnp.ones(1, bool)
    running = _running_sums(rows, order, jnp.concatenate([edge, is_new]))
    is_last = jnp.concatenate([is_new, edge])
    owners = _by_step(jnp.where(is_last, owners, count), fill=count)
    return sums.at[owners].set(running, mode="drop")


def _running_sums(
    rows: Float[Array, "entries columns"], order: Int32[Array, "entries"], is_first: Bool[Array, "entries"]
) -> Float[Array, "steps blocks columns"]:
    """Returns the sum of `rows[order]` from the last first one up to each, as `_by_step` arranges them."""
    columns = rows.shape[1]
    order, is_first = _by_step(order), _by_step(is_first)
    blocks = order.shape[1]

    def append(before: tuple[Array, Array], entry: tuple[Array, Array]) -> tuple[tuple, tuple]:
        total, is_cut = before
        row, is_first = entry
        after = (rows[row] + jnp.where(is_first[:, None], 0.0, total), is_cut | is_first)
        return after, after

    empty = (jnp.zeros((blocks, columns), rows.dtype), jnp.zeros(blocks, bool))
    (totals, are_cut), (running, is_cut) = jax.lax.scan(append, empty, (order, is_first))
    if blocks == 1:
        return running
    gathered = _running_sums(totals, jnp.arange(blocks, dtype=jnp.int32), are_cut)
    gathered = gathered.swapaxes(0, 1).reshape(-1, columns)[: blocks - 1]
    gathered = jnp.concatenate([jnp.zeros((1, columns), rows.dtype), gathered])
    return running + jnp.where(is_cut[..., None], 0.0, gathered[None])


def _by_step(values: Array, fill: int = 0) -> Array:
    """Cuts `[entries]` into blocks: `[steps, blocks]`, step by step through all of them."""
    padded = jnp.pad(values, (0, -len(values) % _BLOCK), constant_values=fill)
    return padded.reshape(-1, _BLOCK).T
