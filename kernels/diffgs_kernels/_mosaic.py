"""Launches the tile body through Mosaic GPU: one warpgroup of 128 threads a tile, on NVIDIA GPUs from Hopper on.

A Gaussian's numbers are read from global memory by all threads at once. Vectors of pixels hold one pixel a thread, and
a tile as many vectors as it takes.

Backwards, the sums over a tile's pixels wait until `_STRIDE` Gaussians have left every thread's share of theirs in
shared memory. Then each warp reads whole vectors and adds them up by itself, so that the warps wait for each other
three times in a stride, and not twice for every sum.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array

from diffgs_kernels import _row_sums
from diffgs_kernels._settings import Rules, Tiling
from diffgs_kernels._tile_body import Gradients, List, Parts, Pixels, Row, blend_list, blend_list_backward, pixels_of

_WARPGROUP = 128  # threads
_WARPS = 4
_STRIDE = 4  # Gaussians: 24 kB of shared memory with four channels; registers leave room for five tiles in any case
_SHARED = 200 * 1024  # bytes for the shares of a stride; a multiprocessor has 227 kB


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
    _check(table, tiling)
    launch = _kernel(
        functools.partial(_blend_kernel, tiling=tiling, rules=rules, interpret=interpret),
        name="blend_pass",
        tiles=starts.shape[0],
        out_type=(_like(transmittance), _like(blended)),
        interpret=interpret,
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
    _check(table, tiling)
    columns = table.shape[1]
    shares = _padded(columns)
    stride = min(_STRIDE, _SHARED // (shares * _WARPGROUP * 4))
    if stride == 0:
        most = _SHARED // (_WARPGROUP * 4)
        raise ValueError(f"launcher 'mosaic' has no room for gradients of {columns} columns, but of {most} at most")
    launch = _kernel(
        functools.partial(_blend_backward_kernel, tiling=tiling, rules=rules, interpret=interpret),
        name="blend_pass_backward",
        tiles=starts.shape[0],
        out_type=(_like(transmittance), _like(behind), jax.ShapeDtypeStruct((ids.shape[0], columns), table.dtype)),
        scratch_types=(
            plgpu.SMEM((stride * shares, _WARPGROUP), table.dtype),
            plgpu.SMEM((stride * shares,), table.dtype),
            plgpu.SMEM((stride,), jnp.int32),
        ),
        interpret=interpret,
    )
    return launch(table, ids, owners, starts, counts, transmittance, behind, cotangents)


def add_rows(rows: Array, owners: Array, sums: Array, *, interpret: bool) -> Array:
    """Adds rows as `_kernels.add_rows` describes; by Triton while JAX has it, because Mosaic has no gathers."""
    try:
        from diffgs_kernels import _triton_row_sums
    except ImportError:
        return _row_sums.add_rows(rows, owners, sums)
    return _triton_row_sums.add_rows(rows, owners, sums, interpret=interpret)


def _kernel(kernel, *, name: str, tiles: int, out_type: tuple, scratch_types: tuple = (), interpret: bool):
    return plgpu.kernel(
        kernel,
        out_type=out_type,
        scratch_types=scratch_types,
        grid=(tiles,),
        grid_names=("tile",),
        kernel_name=name,
        compiler_params=plgpu.CompilerParams(
            # The default from jax 0.11 on; before, layouts had to be given by hand.
            lowering_semantics=plgpu.LoweringSemantics.Warpgroup,
            # Otherwise every store of a vector waits for all warps, twice.
            unsafe_no_auto_barriers=True,
        ),
        **({"interpret": _interpreter()} if interpret else {}),
    )


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
    interpret: bool,
):
    tile = jax.lax.axis_index("tile")
    channels = range(blended_in.shape[1])
    transmittance, blended = blend_list(
        _list(ids, starts, counts, tile, lambda number: _columns(table, number)),
        _read(transmittance_in, tile),
        tuple(_read(blended_in, tile, c) for c in channels),
        _pixels(tile, tiling, table.dtype, interpret),
        rules,
    )
    _write(transmittance_out, transmittance, tile)
    for c in channels:
        _write(blended_out, blended[c], tile, c)


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
    shares,
    sums,
    slots,
    *,
    tiling: Tiling,
    rules: Rules,
    interpret: bool,
):
    tile = jax.lax.axis_index("tile")
    columns, stride = table.shape[1], slots.shape[0]
    padded = _padded(columns)

    def write(place: Array, row: Row, gradient: tuple[Array, ...]) -> None:
        slots[place] = tiling.slot(tile, *row[columns:])
        for c, value in enumerate(gradient):
            shares[place * padded + c, :] = value

    def flush(entries: Array) -> None:
        plgpu.commit_smem()  # a barrier: all shares are there
        for place in range(stride):
            some = pl.ds(place * padded, padded)
            sums[some] = jnp.sum(_read_by_warp(shares, some, interpret), axis=1)
        plgpu.commit_smem()

        def store(place: Array, nothing: tuple) -> tuple:
            for c in range(columns):
                rows[slots[place], c] = sums[place * padded + c]
            return nothing

        jax.lax.fori_loop(0, entries, store, ())
        plgpu.commit_smem()  # sums and slots have been read

    def clear(row: Row) -> None:
        for c in range(columns):
            rows[tiling.slot(tile, *row[columns:]), c] = jnp.zeros((), table.dtype)

    transmittance, behind = blend_list_backward(
        _list(ids, starts, counts, tile, lambda number: (*_columns(table, number), *_columns(owners, number, 2))),
        Gradients(stride, lambda vector: vector, write, flush, clear),
        _read(transmittance_in, tile),
        _read(behind_in, tile),
        tuple(_read(cotangents, tile, c) for c in range(cotangents.shape[1])),
        _pixels(tile, tiling, table.dtype, interpret),
        rules,
    )
    _write(transmittance_out, transmittance, tile)
    _write(behind_out, behind, tile)


def _list(ids, starts, counts, tile: Array, row) -> List:
    start, last = starts[tile], ids.shape[0] - 1
    return List(start, start + counts[tile], lambda entry: ids[jnp.minimum(entry, last)], row)


def _columns(table, number: Array, columns: int | None = None) -> Row:
    """Reads a row of a table, or the first columns of it."""
    return tuple(table[number, column] for column in range(columns or table.shape[1]))


def _read(values, *index: Array | int) -> Parts:
    pixels = values.shape[-1]
    return tuple(values[(*index, pl.ds(first, _WARPGROUP))] for first in range(0, pixels, _WARPGROUP))


def _write(values, parts: Parts, *index: Array | int) -> None:
    for number, part in enumerate(parts):
        values[(*index, pl.ds(number * _WARPGROUP, _WARPGROUP))] = part


def _read_by_warp(shares, some, interpret: bool) -> Array:
    """Reads vectors so that a warp holds the whole of one, four neighbouring numbers a thread."""
    if interpret:
        return shares[some, :]
    tiling = plgpu.Tiling(((_WARPS, _WARPGROUP), (4,)))
    layout = plgpu.Layout.TILED(tiling, warp_dims=(-3,), lane_dims=(-2,), vector_dim=-1)
    return plgpu.load(shares, (some, slice(None)), layout=layout, optimized=False)


def _pixels(tile: Array, tiling: Tiling, dtype: jnp.dtype, interpret: bool) -> tuple[Pixels, ...]:
    layout = None if interpret else plgpu.Layout.WG_STRIDED((_WARPGROUP,), vec_size=1)
    number = plgpu.broadcasted_iota(jnp.int32, (_WARPGROUP,), 0, layout=layout)
    return tuple(pixels_of(tile, number + first, tiling, dtype) for first in range(0, tiling.pixels, _WARPGROUP))


def _padded(columns: int) -> int:
    return -(-columns // _WARPS) * _WARPS


def _like(values: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(values.shape, values.dtype)


def _check(table: Array, tiling: Tiling) -> None:
    if tiling.pixels % _WARPGROUP:
        raise ValueError(f"a tile's side must be at least 16 pixels for launcher 'mosaic', not {tiling.side}")
    if table.dtype != jnp.float32:
        raise ValueError(f"the table must be float32 for launcher 'mosaic', not {table.dtype}")


def _interpreter():
    """Returns the settings that make Mosaic's own interpreter run a kernel, threads, copies and barriers included."""
    if hasattr(plgpu, "InterpretGPUParams"):
        return plgpu.InterpretGPUParams()
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams  # where jax 0.10 keeps it

    return InterpretGPUParams()
