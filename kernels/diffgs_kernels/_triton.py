"""Launches the tile body through the Triton backend of Pallas: one program a tile, on any NVIDIA GPU from Ampere on.

The arrays are handed over whole, and each program reads and writes its own tile's part of them, because blocks of the
Triton backend are powers of two and a list is of any length.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int32

from diffgs_kernels._settings import Rules, Tiling
from diffgs_kernels._tile_body import GEOMETRY, blend_list, blend_list_backward, pixels_of


def blend_pass(
    rows: Float[Array, "entries columns"],
    starts: Int32[Array, "tiles"],
    counts: Int32[Array, "tiles"],
    transmittance: Float[Array, "tiles pixels"],
    blended: Float[Array, "tiles c pixels"],
    *,
    tiling: Tiling,
    rules: Rules,
    warps: int = 4,
    interpret: bool = False,
) -> tuple[Float[Array, "tiles pixels"], Float[Array, "tiles c pixels"]]:
    """Blends the tiles' lists over what is already there.

    Args:
        rows: of all lists, front to back: mean x, mean y, conic xx, xy, yy, opacity, then c channels.
        starts: where in `rows` each tile's list begins.
        counts: how long it is.
        transmittance: light left at each pixel, negated where blending has stopped for good.
        blended: channels so far.
        tiling: of every image.
        rules: thresholds.
        warps: of 32 threads each that work on a tile. It changes the speed only.
        interpret: run on any device, slowly, as plain JAX: for tests.

    Returns:
        `transmittance` and `blended` after this pass.
    """
    _check_shapes(rows, starts, transmittance, blended, tiling)
    launch = pl.pallas_call(
        functools.partial(_blend_kernel, tiling=tiling, rules=rules),
        out_shape=(_like(transmittance), _like(blended)),
        grid=starts.shape,
        compiler_params=triton.CompilerParams(num_warps=warps),
        interpret=interpret,
        name="blend_pass",
    )
    return launch(rows, starts, counts, transmittance, blended)


def blend_pass_backward(
    rows: Float[Array, "entries columns"],
    starts: Int32[Array, "tiles"],
    counts: Int32[Array, "tiles"],
    transmittance: Float[Array, "tiles pixels"],
    behind: Float[Array, "tiles pixels"],
    cotangents: Float[Array, "tiles c pixels"],
    *,
    tiling: Tiling,
    rules: Rules,
    warps: int = 4,
    interpret: bool = False,
) -> tuple[Float[Array, "tiles pixels"], Float[Array, "tiles pixels"], Float[Array, "entries columns"]]:
    """Finds the gradient of every row that this pass blends; add them up with `sum_rows`.

    Args:
        rows: as in `blend_pass`.
        starts: as in `blend_pass`.
        counts: as in `blend_pass`.
        transmittance: as in `blend_pass`, before this pass.
        behind: the part of Σ output·cotangent that this pass and those behind it contribute.
        cotangents: of the blended channels.
        tiling: as in `blend_pass`.
        rules: as in `blend_pass`.
        warps: as in `blend_pass`.
        interpret: as in `blend_pass`.

    Returns:
        `transmittance` and `behind` after this pass, and the rows' gradients: zero for rows of no list.
    """
    _check_shapes(rows, starts, transmittance, cotangents, tiling)
    launch = pl.pallas_call(
        functools.partial(_blend_backward_kernel, tiling=tiling, rules=rules),
        out_shape=(_like(transmittance), _like(behind), _like(rows)),
        grid=starts.shape,
        # A program leaves out what lies behind its last open pixel, so the gradients start as zeros.
        input_output_aliases={6: 2},
        compiler_params=triton.CompilerParams(num_warps=warps),
        interpret=interpret,
        name="blend_pass_backward",
    )
    return launch(rows, starts, counts, transmittance, behind, cotangents, jnp.zeros_like(rows))


def _blend_kernel(rows, starts, counts, light_in, blended_in, light_out, blended_out, *, tiling: Tiling, rules: Rules):
    tile = pl.program_id(0)
    channels = range(blended_in.shape[1])
    start = starts[tile]
    light, blended = blend_list(
        lambda entry, column: rows[entry, column],
        start,
        start + counts[tile],
        light_in[tile, :],
        tuple(blended_in[tile, c, :] for c in channels),
        pixels_of(tile, tiling, rows.dtype),
        rules,
    )
    light_out[tile, :] = light
    for c in channels:
        blended_out[tile, c, :] = blended[c]


def _blend_backward_kernel(
    rows,
    starts,
    counts,
    light_in,
    behind_in,
    cotangents,
    zeros,
    light_out,
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

    light, behind = blend_list_backward(
        lambda entry, column: rows[entry, column],
        write,
        start,
        start + counts[tile],
        light_in[tile, :],
        behind_in[tile, :],
        tuple(cotangents[tile, c, :] for c in range(cotangents.shape[1])),
        pixels_of(tile, tiling, rows.dtype),
        rules,
    )
    light_out[tile, :] = light
    behind_out[tile, :] = behind


def _like(values: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(values.shape, values.dtype)


def _check_shapes(rows: Array, starts: Array, transmittance: Array, channels: Array, tiling: Tiling) -> None:
    if transmittance.shape[1] != tiling.pixels:
        raise ValueError(f"a tile of side {tiling.side} has {tiling.pixels} pixels, not {transmittance.shape[1]}")
    if starts.shape[0] % (tiling.columns * tiling.rows):
        raise ValueError(
            f"{starts.shape[0]} tiles are no whole number of images of {tiling.rows} × {tiling.columns} tiles"
        )
    if rows.shape[1] != GEOMETRY + channels.shape[1]:
        raise ValueError(f"rows must have {GEOMETRY} + {channels.shape[1]} columns, not {rows.shape[1]}")
