"""Adds up rows that belong together, in a fixed order: what a scatter-add with atomics does not promise on a GPU."""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int32

_BLOCK = 16  # owners a program looks after: with 16 columns, two sums a thread


def add_rows(
    rows: Float[Array, "entries columns"],
    owners: Int32[Array, "m 4"],
    sums: Float[Array, "m columns"],
    *,
    interpret: bool = False,
) -> Float[Array, "m columns"]:
    """Adds the rows of each owner to its sum, one after the other; a program walks through those of a few owners.

    Args:
        rows: of every owner one behind the other.
        owners: as in `_kernels.blend_pass_backward`.
        sums: so far.
        interpret: run on any device, slowly, as plain JAX: for tests.
    """
    launch = pl.pallas_call(
        _add_kernel,
        out_shape=jax.ShapeDtypeStruct(sums.shape, sums.dtype),
        grid=(-(-sums.shape[0] // _BLOCK),),
        input_output_aliases={2: 0},
        compiler_params=triton.CompilerParams(num_warps=4),
        interpret=interpret,
        name="add_rows",
    )
    return launch(rows, owners, sums)


def _add_kernel(rows, owners, sums_in, sums_out):
    count, columns = sums_out.shape
    shape = (_BLOCK, pl.next_power_of_2(columns))
    owner = pl.program_id(0) * _BLOCK + jax.lax.broadcasted_iota(jnp.int32, (_BLOCK,), 0)
    is_owner = owner < count

    def number(column: int) -> Array:
        return triton.load(owners.at[owner, jnp.full((_BLOCK,), column, jnp.int32)], mask=is_owner, other=0)

    first, length = number(2), number(3)
    column = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    target = (jnp.broadcast_to(owner[:, None], shape), column)
    is_target = is_owner[:, None] & (column < columns)

    def add(step: Array, total: Array) -> Array:
        source = (jnp.broadcast_to((first + step)[:, None], shape), column)
        is_there = (step < length)[:, None] & (column < columns)
        return total + triton.load(rows.at[source], mask=is_there, other=0.0)

    before = triton.load(sums_in.at[target], mask=is_target, other=0.0)
    triton.store(sums_out.at[target], jax.lax.fori_loop(0, jnp.max(length), add, before), mask=is_target)
