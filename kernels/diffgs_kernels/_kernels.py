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
    table: Float[Array, "m columns"],
    ids: Int32[Array, "entries"],
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
        table: one row a Gaussian: mean x, mean y, conic xx, xy, yy, opacity, then c channels.
        ids: of all lists, front to back: which row; in [0, m), those of no list too.
        starts: where in `ids` each tile's list begins.
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
    _check_shapes(table, ids, starts, transmittance, blended, tiling)
    operands = (table, ids, starts, counts, transmittance, blended)
    return _module(launcher).blend_pass(*operands, tiling=tiling, rules=rules, interpret=interpret)


def blend_pass_backward(
    table: Float[Array, "m columns"],
    ids: Int32[Array, "entries"],
    owners: Int32[Array, "m 4"],
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
    """Finds the gradient of the table's row for every entry of every list; add them up with `add_rows`.

    The gradients of a Gaussian's entries come out one behind the other, in the order of the tiles it touches. Where
    they begin is known when the lists are made, so nothing has to be sorted afterwards.

    Args:
        table: as in `blend_pass`.
        ids: as in `blend_pass`.
        owners: of each Gaussian's entries: `corner` and `width` as in `Tiling.slot`, which is the first one, how many.
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
        `transmittance` and `behind` after this pass, and the gradients: undefined where they are no entry's.
    """
    _check_shapes(table, ids, starts, transmittance, cotangents, tiling)
    operands = (table, ids, owners, starts, counts, transmittance, behind, cotangents)
    return _module(launcher).blend_pass_backward(*operands, tiling=tiling, rules=rules, interpret=interpret)


def add_rows(
    rows: Float[Array, "entries columns"],
    owners: Int32[Array, "m 4"],
    sums: Float[Array, "m columns"],
    *,
    launcher: Launcher,
    interpret: bool = False,
) -> Float[Array, "m columns"]:
    """Adds the rows of each Gaussian's entries to its sum, in a fixed order.

    Args:
        rows: as `blend_pass_backward` returns them.
        owners: as in `blend_pass_backward`.
        sums: so far.
        launcher: as in `blend_pass`.
        interpret: as in `blend_pass`.
    """
    return _module(launcher).add_rows(rows, owners, sums, interpret=interpret)


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


def _check_shapes(
    table: Array, ids: Array, starts: Array, transmittance: Array, channels: Array, tiling: Tiling
) -> None:
    if not table.shape[0] or not ids.shape[0]:
        raise ValueError("there must be at least one Gaussian, and room for one entry")
    if transmittance.shape[1] != tiling.pixels:
        raise ValueError(f"a tile of side {tiling.side} has {tiling.pixels} pixels, not {transmittance.shape[1]}")
    if starts.shape[0] % (tiling.columns * tiling.rows):
        raise ValueError(
            f"{starts.shape[0]} tiles are no whole number of images of {tiling.rows} × {tiling.columns} tiles"
        )
    if table.shape[1] != GEOMETRY + channels.shape[1]:
        raise ValueError(f"the table must have {GEOMETRY} + {channels.shape[1]} columns, not {table.shape[1]}")
