"""Blending with one custom VJP: lists tiles and blends them, pass after pass, until every Gaussian has had its turn."""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffgs_jax.rasterizer._binning import TileLists, TileRectangles, list_tiles, no_lists, tile_rectangles
from diffgs_jax.rasterizer._launchers import XLA, Launcher
from diffgs_jax.rasterizer._tile_blending import GEOMETRY
from diffgs_jax.rasterizer._tiles import TileGrid, from_tiles, to_tiles
from diffgs_jax.rasterizer.projection import Projection


class _Residuals(NamedTuple):
    table: Array
    rectangles: TileRectangles
    last_lists: TileLists  # listing is a good part of a render, and most renders need one pass only
    blended: Array
    transmittance: Array


class _Listing(TypedDict):
    """What `list_tiles` and `no_lists` are told besides."""

    images: int
    capacity: int
    with_owners: bool


def blend_tiles(
    projection: Projection,
    table: Float[Array, "images n columns"],
    *,
    grid: TileGrid,
    capacity: int,
    launcher: Launcher = XLA,
) -> tuple[Float[Array, "images h w c"], Float[Array, "images h w"]]:
    """Blends channels front to back, and returns them with the transmittance that is left.

    Gives what `reference.blend_dense` gives, with memory like n + capacity + pixels.

    Args:
        projection: 2D Gaussians of every image, for the lists.
        table: rows of `GEOMETRY` columns and of what is blended.
        grid: tiles of every image.
        capacity: how many (tile, Gaussian) pairs are held at once, at least `grid.tiles`.
        launcher: who blends a pass.
    """
    images, count = projection.depths.shape
    rectangles = tile_rectangles(jax.tree.map(jax.lax.stop_gradient, projection), grid)
    blended, transmittance = _blend(grid, images, capacity, launcher, table.reshape(images * count, -1), rectangles)
    return from_tiles(blended, grid), from_tiles(transmittance[:, None], grid)[..., 0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _blend(
    grid: TileGrid,
    images: int,
    capacity: int,
    launcher: Launcher,
    table: Float[Array, "m columns"],
    rectangles: TileRectangles,
) -> tuple[Float[Array, "tiles c pixels"], Float[Array, "tiles pixels"]]:
    return _blend_forward(grid, images, capacity, launcher, table, rectangles)[0]


def _blend_forward(
    grid: TileGrid, images: int, capacity: int, launcher: Launcher, table: Array, rectangles: TileRectangles
) -> tuple[tuple[Array, Array], _Residuals]:
    signed = _initial_transmittance(grid, images, table.dtype)
    blended = jnp.zeros((images * grid.tiles, table.shape[1] - GEOMETRY, grid.pixels), table.dtype)

    def blend(lists: TileLists, state: tuple[Array, Array]) -> tuple[Array, Array]:
        return launcher.blend_pass(table, lists, *state, grid)

    listing = _Listing(images=images, capacity=capacity, with_owners=launcher.with_owners)
    before = no_lists(grid, table.shape[0], **listing)
    last_lists, (signed, blended) = _run_passes(blend, rectangles, before, (signed, blended), grid, listing)
    transmittance = jnp.abs(signed)
    return (blended, transmittance), _Residuals(table, rectangles, last_lists, blended, transmittance)


def _blend_backward(
    grid: TileGrid,
    images: int,
    capacity: int,
    launcher: Launcher,
    residuals: _Residuals,
    cotangents: tuple[Array, Array],
) -> tuple[Array, None]:
    table, rectangles, last_lists, blended, transmittance = residuals
    by_blended, by_transmittance = cotangents
    signed = _initial_transmittance(grid, images, table.dtype)
    behind = jnp.sum(blended * by_blended, axis=1) + transmittance * by_transmittance

    def blend(lists: TileLists, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        signed, behind, gradients = state
        return launcher.blend_pass_backward(table, lists, signed, behind, by_blended, gradients, grid)

    state = (signed, behind, jnp.zeros_like(table))
    listing = _Listing(images=images, capacity=capacity, with_owners=launcher.with_owners)
    _, (_, _, gradients) = _run_passes(blend, rectangles, last_lists, state, grid, listing)
    return gradients, None


_blend.defvjp(_blend_forward, _blend_backward)


def _initial_transmittance(grid: TileGrid, images: int, dtype: jnp.dtype) -> Float[Array, "tiles pixels"]:
    """Returns 1, except at pixels that hang over the image's edge: those count as stopped."""
    image = jnp.ones((images, grid.height, grid.width, 1), dtype)
    return to_tiles(image, grid, fill=-1.0)[:, 0]


def _run_passes(
    blend: Callable[[TileLists, tuple], tuple],
    rectangles: TileRectangles,
    known: TileLists,
    state: tuple,
    grid: TileGrid,
    listing: _Listing,
) -> tuple[TileLists, tuple]:
    """Applies `blend(lists, state)`, pass after pass, while there are Gaussians left and any pixel is open.

    Each pass advances by at least one Gaussian, so the loop ends whatever the numbers are.

    Args:
        blend: blends one pass into the state, whose first element is the transmittance.
        rectangles: what every Gaussian touches.
        known: lists of some pass, which need not be made again.
        state: what is carried from pass to pass.
        grid: tiles of every image.
        listing: what lists are made.

    Returns:
        The lists of the last pass, and the state after it.
    """
    total = rectangles.ids.shape[0]

    def advance(carry: tuple[TileLists, tuple]) -> tuple[TileLists, tuple]:
        start = carry[0].next_splat
        is_open = jnp.any(carry[1][0] > 0.0, axis=1)
        lists = jax.lax.cond(
            known.start == start,
            lambda: known,
            lambda: list_tiles(rectangles, is_open, start, grid, **listing),
        )
        return lists, blend(lists, carry[1])

    def is_unfinished(carry: tuple[TileLists, tuple]) -> Array:
        return (carry[0].next_splat < total) & jnp.any(carry[1][0] > 0.0)

    return jax.lax.while_loop(is_unfinished, advance, (no_lists(grid, total, **listing), state))
