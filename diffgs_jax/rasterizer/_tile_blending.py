"""The tile body in plain JAX: blends one pass of tile lists into the carried state, forwards and backwards.

This is the seam at which another launcher can take over: arrays in, arrays out, one pass at a time. Both directions
walk the lists front to back, so the backward pass needs nothing but the lists: what a pixel will still receive from
behind is what it receives in all less what it has received already.

Tiles are sorted by the length of their lists and worked on in blocks, `_CHUNK` list entries at a time, until
the block's longest list ends or its last pixel is opaque. So the cost follows the real number of entries, and every
buffer has the size of a block.

The running transmittance of a pixel that has stopped is kept negated: its sign says that it stopped, its magnitude what
light is left.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from diffgs_jax.rasterizer._binning import TileLists
from diffgs_jax.rasterizer._tiles import TileGrid
from diffgs_jax.rasterizer.projection import ALPHA_MIN
from diffgs_jax.rasterizer.reference import ALPHA_MAX, TRANSMITTANCE_MIN

_CHUNK = 16
_CPU_BLOCK = 32  # a block's buffers, 128 kB each, stay in a core's cache; 512 tiles take twice the time
_DEVICE_BLOCK = 2048  # elsewhere parallel width counts

GEOMETRY = 6
"""Columns of the splat table before the channels: mean x, mean y, conic xx, xy, yy, opacity."""


class _Plan(NamedTuple):
    """Tiles by falling list length, padded to whole blocks: their ids, list starts, list lengths, blocks to visit."""

    tiles: Int32[Array, "padded"]
    starts: Int32[Array, "padded"]
    counts: Int32[Array, "padded"]
    blocks: Int32[Array, ""]
    block: int


def blend_pass(
    table: Float[Array, "m columns"],
    lists: TileLists,
    transmittance: Float[Array, "tiles pixels"],
    blended: Float[Array, "tiles c pixels"],
    grid: TileGrid,
) -> tuple[Float[Array, "tiles pixels"], Float[Array, "tiles c pixels"]]:
    """Blends the lists over what is already there.

    Args:
        table: one row for each splat, `GEOMETRY` columns and then the channels.
        lists: which rows each tile blends, front to back.
        transmittance: of each pixel, negated where blending has stopped for good.
        blended: channels so far.
        grid: tiles of every image.
    """
    plan = _plan(lists)

    def visit_block(index: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        tiles, starts, counts = _block(plan, index)
        centers = _tile_centers(tiles, grid, table.dtype)

        def visit_chunk(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            step, transmittance, total = carry
            rows, _ = _chunk_rows(table, lists.ids, starts, counts, step)
            alpha, _ = _alphas(rows, centers, grid)

            def visit_entry(state: tuple[Array, Array], entry: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
                transmittance, total = state
                alpha, colors = entry
                left = transmittance * (1.0 - alpha)
                is_live = left >= TRANSMITTANCE_MIN
                weight = jnp.where(is_live, transmittance * alpha, 0.0)
                transmittance = jnp.where(is_live, left, -jnp.abs(transmittance))
                return (transmittance, total + weight[None] * colors.T[..., None]), None

            (transmittance, total), _ = jax.lax.scan(visit_entry, (transmittance, total), (alpha, rows[..., GEOMETRY:]))
            return step + 1, transmittance, total

        transmittance, total = _read(state[0], tiles), _read(state[1], tiles).transpose(1, 0, 2)
        _, transmittance, total = jax.lax.while_loop(
            lambda carry: _continues(carry[0], carry[1], counts), visit_chunk, (jnp.int32(0), transmittance, total)
        )
        return state[0].at[tiles].set(transmittance, mode="drop"), state[1].at[tiles].set(
            total.transpose(1, 0, 2), mode="drop"
        )

    return jax.lax.fori_loop(0, plan.blocks, visit_block, (transmittance, blended))


def blend_pass_backward(
    table: Float[Array, "m columns"],
    lists: TileLists,
    transmittance: Float[Array, "tiles pixels"],
    behind: Float[Array, "tiles pixels"],
    cotangents: Float[Array, "tiles c pixels"],
    gradients: Float[Array, "m columns"],
    grid: TileGrid,
) -> tuple[Float[Array, "tiles pixels"], Float[Array, "tiles pixels"], Float[Array, "m columns"]]:
    """Adds what one pass contributes to the gradient of the table.

    With w = T·alpha and g the channels' cotangents, the gradient of alpha is T·(c·g) − behind/(1 − alpha), where
    `behind` is what the pixel's loss receives from behind this entry, background included.

    Args:
        table: as in `blend_pass`.
        lists: as in `blend_pass`.
        transmittance: as in `blend_pass`, before this pass.
        behind: the part of Σ output·cotangent that this pass and those behind it contribute.
        cotangents: of the blended channels.
        gradients: of the table so far.
        grid: tiles of every image.

    Returns:
        `transmittance` and `behind` after this pass, and `gradients` with this pass added.
    """
    plan = _plan(lists)
    moments = _moments(grid, table.dtype)

    def visit_block(index: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        tiles, starts, counts = _block(plan, index)
        centers = _tile_centers(tiles, grid, table.dtype)
        cotangent = _read(cotangents, tiles).transpose(1, 0, 2)  # [c, block, pixels]

        def visit_chunk(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            step, transmittance, rest, gradient = carry
            rows, ids = _chunk_rows(table, lists.ids, starts, counts, step)
            alpha, is_clamped = _alphas(rows, centers, grid)
            received = functools.reduce(
                jnp.add, (rows[..., GEOMETRY + c, None] * cotangent[None, c] for c in range(cotangent.shape[0]))
            )  # [chunk, block, pixels]

            def visit_entry(state: tuple[Array, Array], entry: tuple[Array, Array]) -> tuple[tuple, tuple]:
                transmittance, rest = state
                alpha, received = entry
                left = transmittance * (1.0 - alpha)
                is_live = left >= TRANSMITTANCE_MIN
                weight = jnp.where(is_live, transmittance * alpha, 0.0)
                rest = rest - weight * received
                slope = jnp.where(is_live, transmittance * received - rest / (1.0 - alpha), 0.0)
                return (jnp.where(is_live, left, -jnp.abs(transmittance)), rest), (weight, slope)

            (transmittance, rest), (weight, slope) = jax.lax.scan(visit_entry, (transmittance, rest), (alpha, received))
            # alpha = o·exp(−power), so d/dpower = −alpha·d/dalpha, and no gradient passes a clamped or skipped alpha.
            by_power = jnp.where(is_clamped, 0.0, -alpha * slope)
            by_channel = jnp.sum(weight[:, None] * cotangent[None], axis=-1).transpose(0, 2, 1)
            # In full precision: these sums are differences of large numbers.
            sums = jnp.einsum("kmp,pq->kmq", by_power, moments, precision=jax.lax.Precision.HIGHEST)
            row_gradient = _row_gradients(rows, sums, by_channel, centers)
            gradient = gradient.at[ids].add(row_gradient, mode="drop")
            return step + 1, transmittance, rest, gradient

        _, transmittance, rest, gradient = jax.lax.while_loop(
            lambda carry: _continues(carry[0], carry[1], counts),
            visit_chunk,
            (jnp.int32(0), _read(state[0], tiles), _read(state[1], tiles), state[2]),
        )
        return state[0].at[tiles].set(transmittance, mode="drop"), state[1].at[tiles].set(rest, mode="drop"), gradient

    return jax.lax.fori_loop(0, plan.blocks, visit_block, (transmittance, behind, gradients))


def _plan(lists: TileLists) -> _Plan:
    tiles = lists.counts.shape[0]
    block = min(_CPU_BLOCK if jax.default_backend() == "cpu" else _DEVICE_BLOCK, tiles)
    padding = -tiles % block
    order = jnp.argsort(-lists.counts).astype(jnp.int32)
    return _Plan(
        # Tiles that fill up the last block are out of range: read as the last tile, never written.
        tiles=jnp.concatenate([order, jnp.full(padding, tiles, jnp.int32)]),
        starts=jnp.concatenate([lists.starts[order], jnp.zeros(padding, jnp.int32)]),
        counts=jnp.concatenate([lists.counts[order], jnp.zeros(padding, jnp.int32)]),
        blocks=(jnp.sum(lists.counts > 0, dtype=jnp.int32) + block - 1) // block,
        block=block,
    )


def _block(plan: _Plan, index: Array) -> tuple[Array, Array, Array]:
    def cut(values: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(values, index * plan.block, plan.block)

    return cut(plan.tiles), cut(plan.starts), cut(plan.counts)


def _read(values: Array, tiles: Array) -> Array:
    return values.at[tiles].get(mode="clip")


def _continues(step: Array, transmittance: Array, counts: Array) -> Array:
    return (step * _CHUNK < jnp.max(counts)) & jnp.any(transmittance > 0.0)


def _tile_centers(tiles: Array, grid: TileGrid, dtype: jnp.dtype) -> Float[Array, "block 2"]:
    local = tiles % grid.tiles
    corner = jnp.stack([local % grid.columns, local // grid.columns], axis=-1) * grid.tile
    return corner.astype(dtype) + 0.5 * grid.tile


def _pixel_offsets(grid: TileGrid, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Returns x and y of a tile's pixel centres from its own centre."""
    pixel = jnp.arange(grid.pixels)
    column, row = (pixel % grid.tile).astype(dtype), (pixel // grid.tile).astype(dtype)
    return column + 0.5 - 0.5 * grid.tile, row + 0.5 - 0.5 * grid.tile


def _chunk_rows(table: Array, ids: Array, starts: Array, counts: Array, step: Array) -> tuple[Array, Array]:
    """Gathers the block's next entries `[chunk, block, columns]`, zeros past a list's end, and which rows they are."""
    entry = step * _CHUNK + jnp.arange(_CHUNK, dtype=jnp.int32)[:, None]
    is_entry = entry < counts[None, :]
    row = ids.at[starts[None, :] + entry].get(mode="clip")
    values = jnp.where(is_entry[..., None], table.at[row].get(mode="clip"), 0.0)
    return values, jnp.where(is_entry, row, table.shape[0])


def _alphas(rows: Array, centers: Array, grid: TileGrid) -> tuple[Array, Array]:
    """Returns alpha `[chunk, block, pixels]`, zero where it is skipped, and where it is clamped."""
    x, y = (offset[None, None, :] for offset in _pixel_offsets(grid, rows.dtype))
    mean = rows[..., :2] - centers[None]
    x, y = x - mean[..., 0, None], y - mean[..., 1, None]
    xx, xy, yy, opacity = (rows[..., i, None] for i in range(2, GEOMETRY))
    power = 0.5 * (xx * x * x + yy * y * y) + xy * x * y
    free = opacity * jnp.exp(-power)
    is_drawn = (power >= 0.0) & (free >= ALPHA_MIN)
    return jnp.where(is_drawn, jnp.minimum(free, ALPHA_MAX), 0.0), free > ALPHA_MAX


def _moments(grid: TileGrid, dtype: jnp.dtype) -> Float[Array, "pixels 6"]:
    """Returns 1, x, y, x², xy, y² at a tile's pixels: what the gradients of all splat parameters are sums of."""
    x, y = _pixel_offsets(grid, dtype)
    return jnp.stack([jnp.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _row_gradients(rows: Array, moments: Array, by_channel: Array, centers: Array) -> Array:
    """Turns moments of d/dpower about the tile's centre into gradients of the splat's parameters."""
    u, v = rows[..., 0] - centers[None, :, 0], rows[..., 1] - centers[None, :, 1]
    xx, xy, yy, opacity = (rows[..., i] for i in range(2, GEOMETRY))
    one, x, y, x2, xy_, y2 = (moments[..., i] for i in range(6))
    # Moments about the splat's own centre: x → x − u.
    dx, dy = x - u * one, y - v * one
    dx2 = x2 - 2.0 * u * x + u * u * one
    dxy = xy_ - u * y - v * x + u * v * one
    dy2 = y2 - 2.0 * v * y + v * v * one
    by_opacity = -one / jnp.where(opacity > 0.0, opacity, 1.0)
    geometry = [-(xx * dx + xy * dy), -(xy * dx + yy * dy), 0.5 * dx2, dxy, 0.5 * dy2, by_opacity]
    return jnp.concatenate([jnp.stack(geometry, axis=-1), by_channel], axis=-1)
