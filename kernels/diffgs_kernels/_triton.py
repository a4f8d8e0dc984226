"""Launches the tile body through the Triton backend of Pallas: one program a tile, on any NVIDIA GPU from Ampere on.

The arrays are handed over whole, and each program reads and writes its own tile's part of them, because blocks of the
Triton backend are powers of two and a list is of any length.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array

from diffgs_kernels._settings import Rules, Tiling
from diffgs_kernels._tile_body import Read, blend_list, blend_list_backward, pixels_of
from diffgs_kernels._triton_row_sums import sum_rows

__all__ = ["blend_pass", "blend_pass_backward", "sum_rows"]

_PARAMETERS = triton.CompilerParams(num_warps=4)


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
    launch = pl.pallas_call(
        functools.partial(_blend_kernel, tiling=tiling, rules=rules),
        out_shape=(_like(transmittance), _like(blended)),
        grid=starts.shape,
        compiler_params=_PARAMETERS,
        interpret=interpret,
        name="blend_pass",
    )
    return launch(rows, starts, counts, transmittance, blended)


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
    launch = pl.pallas_call(
        functools.partial(_blend_backward_kernel, tiling=tiling, rules=rules),
        out_shape=(_like(transmittance), _like(behind), _like(rows)),
        grid=starts.shape,
        # A program leaves out what lies behind its last open pixel, so the gradients start as zeros.
        input_output_aliases={6: 2},
        compiler_params=_PARAMETERS,
        interpret=interpret,
        name="blend_pass_backward",
    )
    return launch(rows, starts, counts, transmittance, behind, cotangents, jnp.zeros_like(rows))


def _blend_kernel(
    rows, starts, counts, transmittance_in, blended_in, transmittance_out, blended_out, *, tiling: Tiling, rules: Rules
):
    tile = pl.program_id(0)
    channels = range(blended_in.shape[1])
    start = starts[tile]
    transmittance, blended = blend_list(
        lambda first: _reader(rows),
        start,
        start + counts[tile],
        transmittance_in[tile, :],
        tuple(blended_in[tile, c, :] for c in channels),
        pixels_of(tile, _pixel_numbers(tiling), tiling, rows.dtype),
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
    zeros,
    transmittance_out,
    behind_out,
    gradients,
    *,
    tiling: Tiling,
    rules: Rules,
):
    del zeros  # the same memory as `gradients`
    tile = pl.program_id(0)
    start = starts[tile]

    def write(entry: Array, column: int, value: Array) -> None:
        gradients[entry, column] = value

    _, transmittance, behind = blend_list_backward(
        lambda first: _reader(rows),
        write,
        start,
        start + counts[tile],
        transmittance_in[tile, :],
        behind_in[tile, :],
        tuple(cotangents[tile, c, :] for c in range(cotangents.shape[1])),
        pixels_of(tile, _pixel_numbers(tiling), tiling, rows.dtype),
        rules,
    )
    transmittance_out[tile, :] = transmittance
    behind_out[tile, :] = behind


def _reader(rows) -> Read:
    return lambda entry, column: rows[entry, column]


def _pixel_numbers(tiling: Tiling) -> Array:
    return jax.lax.broadcasted_iota(jnp.int32, (tiling.pixels,), 0)


def _like(values: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(values.shape, values.dtype)
