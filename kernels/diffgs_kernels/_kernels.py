"""The kernels as they are called: what goes in, what comes out, whoever launches them.

A launcher is imported when it is first asked for, because importing Pallas takes a while, and because the Triton one
will leave JAX one day: what does not use it must not notice.
"""

from types import ModuleType
from typing import Literal

import jax
from jaxtyping import Array, Float, Int32

from diffgs_kernels._settings import Rules, Tiling
from diffgs_kernels._tile_body import GEOMETRY

Launcher = Literal["triton", "mosaic"]
"""`triton`: NVIDIA GPUs from Ampere on, deprecated by JAX since 0.11; `mosaic`: from Hopper on."""


def blend_pass(
    rows: Float[Array, "entries columns"],
    starts: Int32[Array, "tiles"],
    counts: Int32[Array, "tiles"],
    transmittance: Float[Array, "tiles pixels"],
    blended: Float[Array, "tiles c pixels"],
    *,
    tiling: Tiling,
    rules: Rules,
    launcher: Launcher,
    interpret: bool = False,
) -> tuple[Float[Array, "tiles pixels"], Float[Array, "tiles c pixels"]]:
    """Blends the tiles' lists over what is already there.

    Args:
        rows: of all lists, front to back: mean x, mean y, conic xx, xy, yy, opacity, then c channels.
        starts: where in `rows` each tile's list begins.
        counts: how long it is; lists do not overlap.
        transmittance: of each pixel, negated where blending has stopped for good.
        blended: channels so far.
        tiling: of every image; `mosaic` wants tiles of at least 16 pixels a side.
        rules: thresholds.
        launcher: who launches the kernel; `mosaic` takes float32 only.
        interpret: run on any device, slowly, as plain JAX: for tests.

    Returns:
        `transmittance` and `blended` after this pass.
    """
    _check_shapes(rows, starts, transmittance, blended, tiling)
    operands = (rows, starts, counts, transmittance, blended)
    return _module(launcher).blend_pass(*operands, tiling=tiling, rules=rules, interpret=interpret)


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
    launcher: Launcher,
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
        launcher: as in `blend_pass`.
        interpret: as in `blend_pass`.

    Returns:
        `transmittance` and `behind` after this pass, and the rows' gradients: zero for rows of no list.
    """
    _check_shapes(rows, starts, transmittance, cotangents, tiling)
    operands = (rows, starts, counts, transmittance, behind, cotangents)
    return _module(launcher).blend_pass_backward(*operands, tiling=tiling, rules=rules, interpret=interpret)


def sum_rows(
    rows: Float[Array, "entries columns"],
    owners: Int32[Array, "entries"],
    count: int,
    *,
    launcher: Launcher,
    interpret: bool = False,
) -> Float[Array, "count columns"]:
    """Sums the rows of each owner, in an order that depends on the owners only.

    Args:
        rows: any finite numbers.
        owners: whose row it is; rows of owners outside [0, count) are left out.
        count: number of owners.
        launcher: as in `blend_pass`.
        interpret: as in `blend_pass`.
    """
    return _module(launcher).sum_rows(rows, owners, count, interpret=interpret)


def _module(launcher: Launcher) -> ModuleType:
    match launcher:
        case "triton":
            try:
                from diffgs_kernels import _triton
            except ImportError as error:
                raise NotImplementedError(
                    f"jax {jax.__version__} has no Triton backend of Pallas; use 'mosaic', or an earlier jax"
                ) from error
            return _triton
        case "mosaic":
            from diffgs_kernels import _mosaic

            return _mosaic
        case _:
            raise ValueError(f"launcher must be 'triton' or 'mosaic', not {launcher!r}")


def _check_shapes(rows: Array, starts: Array, transmittance: Array, channels: Array, tiling: Tiling) -> None:
    if transmittance.shape[1] != tiling.pixels:
        raise ValueError(f"a tile of side {tiling.side} has {tiling.pixels} pixels, not {transmittance.shape[1]}")
    if starts.shape[0] % (tiling.columns * tiling.rows):
        raise ValueError(
            f"{starts.shape[0]} tiles are no whole number of images of {tiling.rows} × {tiling.columns} tiles"
        )
    if rows.shape[1] != GEOMETRY + channels.shape[1]:
        raise ValueError(f"rows must have {GEOMETRY} + {channels.shape[1]} columns, not {rows.shape[1]}")
