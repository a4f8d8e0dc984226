"""Adds up rows that belong together, in a fixed order: what a scatter-add with atomics does not promise on a GPU."""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int32

_BLOCK = 16  # owners a program looks after: with 16 columns, two sums a thread


def sum_rows(
    rows: Float[Array, "entries columns"],
    owners: Int32[Array, "entries"],
    count: int,
    *,
    interpret: bool = False,
) -> Float[Array, "count columns"]:
    """Sums the rows of each owner, in the order in which they come.

    Entries are sorted by owner; then a program walks through the rows of a few owners side by side.

    Args:
        rows: any finite numbers.
        owners: whose row it is; rows of owners outside [0, count) are left out.
        count: number of owners.
        interpret: run on any device, slowly, as plain JAX: for tests.
    """
    entries, columns = rows.shape
    owners = jnp.where((owners >= 0) & (owners < count), owners, count)
    order = jnp.arange(entries, dtype=jnp.int32)
    _, order = jax.lax.sort((owners, order), num_keys=1, is_stable=True)
    padded = -(-count // _BLOCK) * _BLOCK
    lengths = jnp.zeros(padded, jnp.int32).at[jnp.where(owners < count, owners, padded)].add(1, mode="drop")
    starts = jnp.cumsum(lengths, dtype=jnp.int32) - lengths
    launch = pl.pallas_call(
        _sum_kernel,
        out_shape=jax.ShapeDtypeStruct((padded, pl.next_power_of_2(columns)), rows.dtype),
        grid=(padded // _BLOCK,),
        compiler_params=triton.CompilerParams(num_warps=4),
        interpret=interpret,
        name="sum_rows",
    )
    return launch(rows, order, starts, lengths)[:count, :columns]


def _sum_kernel(rows, order, starts, lengths, sums):
    columns, width = rows.shape[1], sums.shape[1]
    first = pl.program_id(0) * _BLOCK
    start, length = starts[pl.ds(first, _BLOCK)], lengths[pl.ds(first, _BLOCK)]
    column = jax.lax.broadcasted_iota(jnp.int32, (_BLOCK, width), 1)
    is_column = column < columns
    column = jnp.where(is_column, column, 0)

    def add(step: Array, total: Array) -> Array:
        is_there = step < length
        entry = order[jnp.where(is_there, start + step, 0)]
        values = rows[jnp.broadcast_to(entry[:, None], column.shape), column]
        return total + jnp.where(is_column & is_there[:, None], values, 0.0)

    sums[pl.ds(first, _BLOCK), :] = jax.lax.fori_loop(0, jnp.max(length), add, jnp.zeros((_BLOCK, width), rows.dtype))
