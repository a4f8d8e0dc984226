"""Launches the tile body through the Triton backend of Pallas: one program a tile, on any NVIDIA GPU from Ampere on.

The arrays are handed over whole, and each program reads and writes its own tile's part of them, because blocks of the
Triton backend are powers of two and a list is of any length.

Backwards a program is a single warp, eight pixels a thread in tiles of 16: its sums over the tile's pixels are
additions within a thread and five shuffles, and no warp waits for another one.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array

from diffgs_kernels._settings import Rules, Tiling
from diffgs_kernels._tile_body import STRIDE, Gradients, List, Row, blend_list, blend_list_backward, pixels_of
from diffgs_kernels._triton_row_sums import add_rows

__all__ = ["add_rows", "blend_pass", "blend_pass_backward"]

_FORWARD_WARPS = 2
_BACKWARD_WARPS = 1


def blend_pass(
    table: Array,
    ids: Array,
    starts: Array,
    counts: Array,
    transmittance: Array,
    blended: Array,
    *,
    tiling: Tiling,
    rules: Rules,
    interpret: bool,
) -> tuple[Array, Array]:
    """Launches what `_kernels.blend_pass` describes."""
    launch = pl.pallas_call(
        functools.partial(_blend_kernel, tiling=tiling, rules=rules),
        out_shape=(_like(transmittance), _like(blended)),
        grid=starts.shape,
        compiler_params=triton.CompilerParams(num_warps=_FORWARD_WARPS),
        interpret=interpret,
        name="blend_pass",
    )
    return launch(table, ids, starts, counts, transmittance, blended)


def blend_pass_backward(
    table: Array,
    ids: Array,
    owners: Array,
    starts: Array,
    counts: Array,
    transmittance: Array,
    behind: Array,
    cotangents: Array,
    *,
    tiling: Tiling,
    rules: Rules,
    interpret: bool,
) -> tuple[Array, Array, Array]:
    """Launches what `_kernels.blend_pass_backward` describes."""
    rows = jax.ShapeDtypeStruct((ids.shape[0], table.shape[1]), table.dtype)
    launch = pl.pallas_call(
        functools.partial(_blend_backward_kernel, tiling=tiling, rules=rules),
        out_shape=(_like(transmittance), _like(behind), rows),
        grid=starts.shape,
        compiler_params=triton.CompilerParams(num_warps=_BACKWARD_WARPS),
        interpret=interpret,
        name="blend_pass_backward",
    )
    return launch(table, ids, owners, starts, counts, transmittance, behind, cotangents)


def _blend_kernel(
    table,
    ids,
    starts,
    counts,
    transmittance_in,
    blended_in,
    transmittance_out,
    blended_out,
    *,
    tiling: Tiling,
    rules: Rules,
):
    tile = pl.program_id(0)
    channels = range(blended_in.shape[1])
    (transmittance,), blended = blend_list(
        _list(ids, starts, counts, tile, lambda number: _columns(table, number)),
        (transmittance_in[tile, :],),
        tuple((blended_in[tile, c, :],) for c in channels),
        (pixels_of(tile, _pixel_numbers(tiling), tiling, table.dtype),),
        rules,
    )
    transmittance_out[tile, :] = transmittance
    for c in channels:
        blended_out[tile, c, :] = blended[c][0]


def _blend_backward_kernel(
    table,
    ids,
    owners,
    starts,
    counts,
    transmittance_in,
    behind_in,
    cotangents,
    transmittance_out,
    behind_out,
    rows,
    *,
    tiling: Tiling,
    rules: Rules,
):
    tile = pl.program_id(0)
    columns = table.shape[1]
    # One store of a whole row: neighbouring threads write neighbouring numbers.
    column = jax.lax.broadcasted_iota(jnp.int32, (pl.next_power_of_2(columns),), 0)

    def store(row: Row, gradient: tuple[Array, ...] = ()) -> None:
        values = jnp.zeros(column.shape, table.dtype)
        for c, value in enumerate(gradient):
            values = jnp.where(column == c, value, values)
        slot = tiling.slot(tile, *row[columns:])
        triton.store(rows.at[jnp.broadcast_to(slot, column.shape), column], values, mask=column < columns)

    gradients = Gradients(
        stride=STRIDE,
        total=jnp.sum,
        write=lambda place, row, gradient: store(row, gradient),
        flush=lambda entries: None,
        clear=store,
    )
    (transmittance,), (behind,) = blend_list_backward(
        _list(ids, starts, counts, tile, lambda number: (*_columns(table, number), *_columns(owners, number, 2))),
        gradients,
        (transmittance_in[tile, :],),
        (behind_in[tile, :],),
        tuple((cotangents[tile, c, :],) for c in range(cotangents.shape[1])),
        (pixels_of(tile, _pixel_numbers(tiling), tiling, table.dtype),),
        rules,
    )
    transmittance_out[tile, :] = transmittance
    behind_out[tile, :] = behind


def _list(ids, starts, counts, tile: Array, row) -> List:
    start, last = starts[tile], ids.shape[0] - 1
    return List(start, start + counts[tile], lambda entry: ids[jnp.minimum(entry, last)], row)


def _columns(table, number: Array, columns: int | None = None) -> Row:
    """Reads a row of a table, or the first columns of it."""
    return tuple(table[number, column] for column in range(columns or table.shape[1]))


def _pixel_numbers(tiling: Tiling) -> Array:
    return jax.lax.broadcasted_iota(jnp.int32, (tiling.pixels,), 0)


def _like(values: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(values.shape, values.dtype)
