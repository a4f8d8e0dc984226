"""Launches the tile body through Mosaic GPU: one warpgroup of 128 threads a tile, on NVIDIA GPUs from Hopper on.

The rows of a stride are copied to shared memory by the GPU's copy engine before they are read. That engine wants rows
of whole 16 bytes and strides that lie inside the array, so rows are padded out here; XLA does so while it gathers them.

What bounds the kernels, read off the machine code for sm_90a (32 registers a thread forwards, 64 backwards, nothing
spilled) and never timed: a stride's copy is waited for, so it takes other warpgroups on the same multiprocessor to hide
it; and backwards each of the `GEOMETRY + c` sums over a tile goes through shuffles, shared memory and two barriers by
itself, which is more than half of the instructions.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array

from diffgs_kernels import _row_sums
from diffgs_kernels._settings import Rules, Tiling
from diffgs_kernels._tile_body import STRIDE, Read, Stage, blend_list, blend_list_backward, pixels_of

_WARPGROUP = 128  # threads
_VECTOR = 2  # neighbouring pixels a thread holds: what Mosaic makes of float32 vectors that it loads
_ALIGNMENT = 4  # float32 numbers in 16 bytes


def blend_pass(
    rows: Array,
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
    _check(rows, tiling)
    padded = _padded(rows)
    launch = _kernel(
        functools.partial(_blend_kernel, tiling=tiling, rules=rules, interpret=interpret),
        name="blend_pass",
        rows=padded,
        tiles=starts.shape[0],
        out_type=(_like(transmittance), _like(blended)),
        interpret=interpret,
    )
    return launch(padded, starts, counts, transmittance, blended)


def blend_pass_backward(
    rows: Array,
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
    _check(rows, tiling)
    entries, padded = rows.shape[0], _padded(rows)
    launch = _kernel(
        functools.partial(_blend_backward_kernel, tiling=tiling, rules=rules, interpret=interpret),
        name="blend_pass_backward",
        rows=padded,
        tiles=starts.shape[0],
        out_type=(_like(transmittance), _like(behind), _like(rows), _like(starts)),
        interpret=interpret,
    )
    transmittance, behind, gradients, reached = launch(padded, starts, counts, transmittance, behind, cotangents)
    # The rows have not been written behind a tile's last open pixel, nor those of empty lists.
    bounds = jnp.zeros(entries + 1, jnp.int32).at[starts].add(1).at[reached].add(-1)
    is_written = jnp.cumsum(bounds)[:entries] > 0
    return transmittance, behind, jnp.where(is_written[:, None], gradients, 0.0)


def sum_rows(rows: Array, owners: Array, count: int, *, interpret: bool) -> Array:
    """Sums rows as `_kernels.sum_rows` describes; in plain JAX, because Mosaic has no gathers."""
    del interpret
    return _row_sums.sum_rows(rows, owners, count)


def _kernel(kernel, *, name: str, rows: Array, tiles: int, out_type: tuple, interpret: bool):
    return plgpu.kernel(
        kernel,
        out_type=out_type,
        scratch_types=(plgpu.SMEM((STRIDE, rows.shape[1]), rows.dtype), plgpu.Barrier(num_barriers=1)),
        grid=(tiles,),
        grid_names=("tile",),
        kernel_name=name,
        # The default from jax 0.11 on; before, layouts had to be given by hand.
        compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Warpgroup),
        **({"interpret": _interpreter()} if interpret else {}),
    )


def _blend_kernel(
    rows,
    starts,
    counts,
    transmittance_in,
    blended_in,
    transmittance_out,
    blended_out,
    staged,
    arrived,
    *,
    tiling: Tiling,
    rules: Rules,
    interpret: bool,
):
    tile = jax.lax.axis_index("tile")
    channels = range(blended_in.shape[1])
    start = starts[tile]
    transmittance, blended = blend_list(
        _stage(rows, staged, arrived),
        start,
        start + counts[tile],
        transmittance_in[tile, :],
        tuple(blended_in[tile, c, :] for c in channels),
        pixels_of(tile, _pixel_numbers(tiling, interpret), tiling, rows.dtype),
        rules,
    )
    transmittance_out[tile, :] = transmittance
    for c in channels:
        blended_out[tile, c, :] = blended[c]


def _blend_backward_kernel(
    rows,
    starts,
    counts,
    transmittance_in,
    behind_in,
    cotangents,
    transmittance_out,
    behind_out,
    gradients,
    reached_out,
    staged,
    arrived,
    *,
    tiling: Tiling,
    rules: Rules,
    interpret: bool,
):
    tile = jax.lax.axis_index("tile")
    start = starts[tile]

    def write(entry: Array, column: int, value: Array) -> None:
        gradients[entry, column] = value

    reached, transmittance, behind = blend_list_backward(
        _stage(rows, staged, arrived),
        write,
        start,
        start + counts[tile],
        transmittance_in[tile, :],
        behind_in[tile, :],
        tuple(cotangents[tile, c, :] for c in range(cotangents.shape[1])),
        pixels_of(tile, _pixel_numbers(tiling, interpret), tiling, rows.dtype),
        rules,
    )
    transmittance_out[tile, :] = transmittance
    behind_out[tile, :] = behind
    reached_out[tile] = reached


def _stage(rows, staged, arrived) -> Stage:
    """Returns how a stride of rows gets into shared memory."""

    def stage(first: Array) -> Read:
        plgpu.commit_smem()  # a barrier: no thread reads the last stride any more
        plgpu.copy_gmem_to_smem(rows.at[pl.ds(first, STRIDE)], staged, arrived.at[0])
        plgpu.barrier_wait(arrived.at[0])
        return lambda entry, column: staged[entry - first, column]

    return stage


def _pixel_numbers(tiling: Tiling, interpret: bool) -> Array:
    shape = (tiling.pixels,)
    layout = None if interpret else plgpu.Layout.WG_STRIDED(shape, vec_size=_VECTOR)
    return plgpu.broadcasted_iota(jnp.int32, shape, 0, layout=layout)


def _padded(rows: Array) -> Array:
    return jnp.pad(rows, ((0, STRIDE), (0, -rows.shape[1] % _ALIGNMENT)))


def _like(values: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(values.shape, values.dtype)


def _check(rows: Array, tiling: Tiling) -> None:
    if tiling.pixels % (_WARPGROUP * _VECTOR):
        raise ValueError(f"a tile's side must be at least 16 pixels for launcher 'mosaic', not {tiling.side}")
    if rows.dtype != jnp.float32:
        raise ValueError(f"rows must be float32 for launcher 'mosaic', not {rows.dtype}")


def _interpreter():
    """Returns the settings that make Mosaic's own interpreter run a kernel, threads, copies and barriers included."""
    if hasattr(plgpu, "InterpretGPUParams"):
        return plgpu.InterpretGPUParams()
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams  # where jax 0.10 keeps it

    return InterpretGPUParams()
