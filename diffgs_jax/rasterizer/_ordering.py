"""Sorting without sorting twice: depth order, and the grouping of (tile, splat) pairs by tile.

XLA sorts bare integers several times faster than keys that carry values, and counts and scatters faster still (on a CPU
by a factor of five to ten), so values are moved by position wherever positions can be counted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, UInt32

_TIE_ROUNDS = 4
_WORD = 32


class TileGroups(NamedTuple):
    """Pairs grouped by tile, in the order of their ranks.

    Attributes:
        ranks: `[capacity]` the pairs' ranks; what is past the last group is undefined.
        starts: `[tiles]` where each tile's group begins.
        counts: `[tiles]` how many pairs it has.
    """

    ranks: Int32[Array, "capacity"]
    starts: Int32[Array, "tiles"]
    counts: Int32[Array, "tiles"]


def depth_order(depths: Float[Array, "images n"], is_visible: Bool[Array, "images n"]) -> Int32[Array, "images n"]:
    """Returns the indices that sort each image's splats by depth, ties by index; what is not visible comes last.

    Args:
        depths: positive where visible.
        is_visible: which splats matter.
    """

    def by_sorting() -> Array:
        return jnp.argsort(jnp.where(is_visible, depths, jnp.inf), axis=-1, stable=True).astype(jnp.int32)

    if depths.dtype != jnp.float32:
        return by_sorting()
    images, count = depths.shape
    index = jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32)[None], depths.shape)
    # Positive floats are ordered like their bits, and those of finite ones leave the upper half free.
    hidden = jnp.uint32(1 << 31) | index.astype(jnp.uint32)
    keys = jnp.where(is_visible, jax.lax.bitcast_convert_type(depths, jnp.uint32), hidden)
    first = jax.vmap(jnp.searchsorted)(jnp.sort(keys, axis=-1), keys).astype(jnp.int32)

    # Splats of equal depth now claim the same place: the least index gets it, the others move on by one.
    image = jnp.broadcast_to(jnp.arange(images, dtype=jnp.int32)[:, None], depths.shape)
    place, is_open = first, jnp.ones_like(is_visible)
    for _ in range(_TIE_ROUNDS):
        claims = jnp.full((images, count), count, jnp.int32)
        claims = claims.at[image, jnp.where(is_open, place, count)].min(index, mode="drop")
        is_open &= claims.at[image, place].get(mode="clip") != index
        place = place + is_open
    order = jnp.zeros((images, count), jnp.int32).at[image, place].set(index, mode="drop")
    return jax.lax.cond(jnp.any(is_open), by_sorting, lambda: order)


def group_by_counting(
    tile: Int32[Array, "capacity"],
    rank: Int32[Array, "capacity"],
    is_used: Bool[Array, "capacity"],
    *,
    tiles: int,
    images: int,
    per_image: int,
) -> TileGroups:
    """Groups pairs by tile with one bit for every (tile, splat of its image): a rank is a count of lower bits.

    Args:
        tile: of each pair, counted through all images.
        rank: of each pair, image · per_image + place in the image's depth order. No pair occurs twice.
        is_used: which pairs there are.
        tiles: in an image.
        images: number of them.
        per_image: splats in an image.
    """
    capacity = tile.shape[0]
    words = -(-per_image // _WORD)
    place = rank % per_image
    word = jnp.where(is_used, tile * words + place // _WORD, images * tiles * words)
    bit = jnp.uint32(1) << (place % _WORD).astype(jnp.uint32)
    bits = jnp.zeros(images * tiles * words, jnp.uint32).at[word].add(bit, mode="drop")
    ends = jnp.cumsum(jax.lax.population_count(bits).astype(jnp.int32))
    begins = jnp.concatenate([jnp.zeros(1, jnp.int32), ends])
    lower = jax.lax.population_count(bits.at[word].get(mode="clip") & (bit - jnp.uint32(1))).astype(jnp.int32)
    slot = jnp.where(is_used, begins.at[word].get(mode="clip") + lower, capacity)
    ranks = jnp.zeros(capacity, jnp.int32).at[slot].set(rank, mode="drop", unique_indices=False)
    bounds = begins[::words]
    return TileGroups(ranks, bounds[:-1], bounds[1:] - bounds[:-1])


def packed_images(tiles: int, images: int, per_image: int) -> int:
    """Returns for how many images (tile, rank) fits into one uint32; 0 where not even for one."""
    bits = _rank_bits(per_image)
    return min(images, ((1 << (32 - bits)) - 1) // tiles) if bits < 32 else 0


def group_by_sorting(
    tile: Int32[Array, "capacity"],
    rank: Int32[Array, "capacity"],
    is_used: Bool[Array, "capacity"],
    first_image: Int32[Array, ""],
    *,
    tiles: int,
    images: int,
    per_image: int,
) -> TileGroups:
    """Groups pairs by tile with memory that does not depend on the number of tiles times splats.

    Args:
        tile: as in `group_by_counting`.
        rank: as in `group_by_counting`.
        is_used: as in `group_by_counting`.
        first_image: no pair belongs to an earlier one, nor to one `packed_images` or more later if that is not 0.
        tiles: as in `group_by_counting`.
        images: as in `group_by_counting`.
        per_image: as in `group_by_counting`.
    """
    fitting = packed_images(tiles, images, per_image)
    if fitting == 0:
        tile, rank = jax.lax.sort((jnp.where(is_used, tile, images * tiles), rank), num_keys=2)
        bounds = jnp.searchsorted(tile, jnp.arange(images * tiles + 1, dtype=jnp.int32)).astype(jnp.int32)
        return TileGroups(rank, bounds[:-1], bounds[1:] - bounds[:-1])
    bits = _rank_bits(per_image)
    local = (tile - first_image * tiles).astype(jnp.uint32)
    key = (local << bits) | (rank % per_image).astype(jnp.uint32)
    key = jnp.sort(jnp.where(is_used, key, jnp.uint32(0xFFFFFFFF)))
    image = first_image + (key >> bits).astype(jnp.int32) // tiles
    rank = image * per_image + (key & jnp.uint32((1 << bits) - 1)).astype(jnp.int32)
    bounds = _bounds(key, jnp.arange(images * tiles + 1, dtype=jnp.int32) - first_image * tiles, fitting * tiles, bits)
    return TileGroups(rank, bounds[:-1], bounds[1:] - bounds[:-1])


def _rank_bits(per_image: int) -> int:
    return max(1, (per_image - 1).bit_length())


def _bounds(
    keys: UInt32[Array, "capacity"], tile: Int32[Array, "bounds"], tiles: int, bits: int
) -> Int32[Array, "bounds"]:
    """Finds where each tile's keys begin; tiles before the first and after the last are empty groups."""
    inside = jnp.clip(tile, 0, tiles).astype(jnp.uint32)
    return jnp.searchsorted(keys, inside << bits).astype(jnp.int32)
