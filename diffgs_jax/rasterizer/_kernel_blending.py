"""The kernels behind the seam of `_tile_blending`: the same passes, blended by `diffgs_kernels`."""

import diffgs_kernels
from jaxtyping import Array, Float

from diffgs_jax.rasterizer._binning import TileLists
from diffgs_jax.rasterizer._tiles import TileGrid
from diffgs_jax.rasterizer.projection import ALPHA_MIN
from diffgs_jax.rasterizer.reference import ALPHA_MAX, TRANSMITTANCE_MIN

_RULES = diffgs_kernels.Rules(ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN)


def blend_pass(
    table: Float[Array, "m columns"],
    lists: TileLists,
    transmittance: Float[Array, "tiles pixels"],
    blended: Float[Array, "tiles c pixels"],
    grid: TileGrid,
    *,
    launcher: diffgs_kernels.Launcher,
    interpret: bool = False,
) -> tuple[Float[Array, "tiles pixels"], Float[Array, "tiles c pixels"]]:
    """Blends the lists over what is already there, as `_tile_blending.blend_pass` does.

    Args:
        table: one row for each splat, six columns of geometry and then the channels.
        lists: which rows each tile blends, front to back.
        transmittance: of each pixel, negated where blending has stopped for good.
        blended: channels so far.
        grid: tiles of every image.
        launcher: who launches the kernel.
        interpret: run it on any device, slowly.
    """
    return diffgs_kernels.blend_pass(
        table,
        lists.ids,
        lists.starts,
        lists.counts,
        transmittance,
        blended,
        tiling=_tiling(grid),
        rules=_RULES,
        launcher=launcher,
        interpret=interpret,
    )


def blend_pass_backward(
    table: Float[Array, "m columns"],
    lists: TileLists,
    transmittance: Float[Array, "tiles pixels"],
    behind: Float[Array, "tiles pixels"],
    cotangents: Float[Array, "tiles c pixels"],
    gradients: Float[Array, "m columns"],
    grid: TileGrid,
    *,
    launcher: diffgs_kernels.Launcher,
    interpret: bool = False,
) -> tuple[Float[Array, "tiles pixels"], Float[Array, "tiles pixels"], Float[Array, "m columns"]]:
    """Adds what one pass contributes to the gradient of the table, as `_tile_blending.blend_pass_backward` does.

    Args:
        table: as in `blend_pass`.
        lists: as in `blend_pass`.
        transmittance: as in `blend_pass`, before this pass.
        behind: the part of Σ output·cotangent that this pass and those behind it contribute.
        cotangents: of the blended channels.
        gradients: of the table so far.
        grid: tiles of every image.
        launcher: as in `blend_pass`.
        interpret: as in `blend_pass`.

    Returns:
        `transmittance` and `behind` after this pass, and `gradients` with this pass added.
    """
    if lists.owners is None:
        raise ValueError("lists for the kernels' backward pass are made with_owners")
    transmittance, behind, rows = diffgs_kernels.blend_pass_backward(
        table,
        lists.ids,
        lists.owners,
        lists.starts,
        lists.counts,
        transmittance,
        behind,
        cotangents,
        tiling=_tiling(grid),
        rules=_RULES,
        launcher=launcher,
        interpret=interpret,
    )
    gradients = diffgs_kernels.add_rows(rows, lists.owners, gradients, launcher=launcher, interpret=interpret)
    return transmittance, behind, gradients


def _tiling(grid: TileGrid) -> diffgs_kernels.Tiling:
    return diffgs_kernels.Tiling(side=grid.tile, columns=grid.columns, rows=grid.rows)
