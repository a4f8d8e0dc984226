"""Sorting without sorting twice: depth order, and the grouping of (tile, splat) pairs by tile.

XLA sorts bare integers several times faster than keys that carry values, and counts and scatters faster still (on a CPU
by a factor of five to ten), so values are moved by position wherever positions can be counted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

_TIE_ROUNDS = 4
_WORD = 32  # bits
_LARGEST_KEY = 2**32 - 1
_COUNTING_WORDS = 1 << 21  # 8 MB of bits: counting is the faster way while its table stays in proportion


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
    if jax.default_backend() != "cpu":
        return depth_order_by_flat_sorts(depths, is_visible)
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


def depth_order_by_flat_sorts(
    depths: Float[Array, "images n"], is_visible: Bool[Array, "images n"]
) -> Int32[Array, "images n"]:
    """Returns what `depth_order` does, by two stable sorts of (int32, int32) in one row: by depth, then by image.

    That is what XLA hands to CUB's radix sort on an NVIDIA GPU, whatever the number of images; batches of 2 to 26 rows
    take its own slower sort. On a CPU, sorts that carry values are the slow ones.

    Args:
        depths: as in `depth_order`.
        is_visible: as in `depth_order`.
    """
    images, count = depths.shape
    last = jnp.int32(2**31 - 1)
    # Positive floats are ordered like their bits.
    keys = jnp.where(is_visible, jax.lax.bitcast_convert_type(depths, jnp.int32), last).reshape(-1)
    splats = jnp.arange(images * count, dtype=jnp.int32)
    _, splats = jax.lax.sort((keys, splats), num_keys=1, is_stable=True)
    if images > 1:
        _, splats = jax.lax.sort((jax.lax.div(splats, jnp.int32(count)), splats), num_keys=1, is_stable=True)
    return splats.reshape(images, count) - jnp.arange(images, dtype=jnp.int32)[:, None] * count


def images_to_pack(capacity: int, *, tiles: int, images: int, per_image: int) -> int:
    """Returns how many images' pairs `group_pairs` can be given at once; 0 for any number.

    Args:
        capacity: of the lists.
        tiles: in an image.
        images: number of them.
        per_image: splats in an image.
    """
    if _is_counted(capacity, tiles, images, per_image):
        return 0
    fitting = min(images, _LARGEST_KEY // (tiles * per_image))
    # Where one word does not hold all images, a CPU is faster with a pass for some of them than with keys of two words.
    return fitting if fitting == images or jax.default_backend() == "cpu" else 0


def group_pairs(
    tile: Int32[Array, "slots"],
    rank: Int32[Array, "slots"],
    is_used: Bool[Array, "slots"],
    first_image: Int32[Array, ""],
    *,
    capacity: int,
    tiles: int,
    images: int,
    per_image: int,
) -> TileGroups:
    """Groups pairs by tile, by whichever way is fastest.

    Args:
        tile: of each pair, counted through all images.
        rank: of each pair, image · per_image + place in the image's depth order; does not fall. No pair occurs twice.
        is_used: which pairs there are.
        first_image: no pair belongs to an earlier one, nor to one `images_to_pack` or more later if that is not 0.
        capacity: of the lists; `slots` or more.
        tiles: in an image.
        images: number of them.
        per_image: splats in an image.
    """
    sizes = {"tiles": tiles, "images": images, "per_image": per_image}
    if _is_counted(capacity, **sizes):
        return group_by_counting(tile, rank, is_used, **sizes)
    if images_to_pack(capacity, **sizes):
        return group_by_sorting_words(tile, rank, is_used, first_image, **sizes)
    return group_by_sorting_pairs(tile, rank, is_used, tiles=tiles, images=images)


def _is_counted(capacity: int, tiles: int, images: int, per_image: int) -> bool:
    return images * tiles * -(-per_image // _WORD) <= max(capacity, _COUNTING_WORDS)


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


def group_by_sorting_words(
    tile: Int32[Array, "slots"],
    rank: Int32[Array, "slots"],
    is_used: Bool[Array, "slots"],
    first_image: Int32[Array, ""],
    *,
    tiles: int,
    images: int,
    per_image: int,
) -> TileGroups:
    """Groups pairs by tile by sorting (tile, place) as one word, in memory that tiles times splats do not matter to.

    Args:
        tile: as in `group_pairs`.
        rank: as in `group_pairs`.
        is_used: as in `group_pairs`.
        first_image: as in `group_pairs`.
        tiles: as in `group_pairs`.
        images: as in `group_pairs`.
        per_image: as in `group_pairs`.
    """
    fitting = min(images, _LARGEST_KEY // (tiles * per_image))
    local = (tile - first_image * tiles).astype(jnp.uint32)
    key = local * jnp.uint32(per_image) + (rank % per_image).astype(jnp.uint32)
    # Equal keys are all unused; a stable sort on a GPU might carry their numbers along.
    is_cpu = jax.default_backend() == "cpu"
    key = jnp.sort(jnp.where(is_used, key, jnp.uint32(_LARGEST_KEY)), stable=is_cpu)
    local = key // jnp.uint32(per_image)
    place = (key - local * jnp.uint32(per_image)).astype(jnp.int32)
    rank = (first_image + local.astype(jnp.int32) // tiles) * per_image + place
    if not is_cpu:
        is_used = local < fitting * tiles
        tile = jnp.where(is_used, local.astype(jnp.int32) + first_image * tiles, images * tiles)
        return TileGroups(rank, *group_bounds_by_edges(tile, images * tiles))
    # Tiles before the first image and after the last one that fits are empty groups.
    bounds = jnp.arange(images * tiles + 1, dtype=jnp.int32) - first_image * tiles
    bounds = jnp.clip(bounds, 0, fitting * tiles).astype(jnp.uint32) * jnp.uint32(per_image)
    bounds = jnp.searchsorted(key, bounds).astype(jnp.int32)
    return TileGroups(rank, bounds[:-1], bounds[1:] - bounds[:-1])


def group_by_sorting_pairs(
    tile: Int32[Array, "slots"],
    rank: Int32[Array, "slots"],
    is_used: Bool[Array, "slots"],
    *,
    tiles: int,
    images: int,
) -> TileGroups:
    """Groups pairs by tile by a stable sort that carries their ranks, which are in order already.

    Args:
        tile: as in `group_pairs`.
        rank: as in `group_pairs`.
        is_used: as in `group_pairs`.
        tiles: as in `group_pairs`.
        images: as in `group_pairs`.
    """
    tile, rank = jax.lax.sort((jnp.where(is_used, tile, images * tiles), rank), num_keys=1, is_stable=True)
    if jax.default_backend() != "cpu":
        return TileGroups(rank, *group_bounds_by_edges(tile, images * tiles))
    bounds = jnp.searchsorted(tile, jnp.arange(images * tiles + 1, dtype=jnp.int32)).astype(jnp.int32)
    return TileGroups(rank, bounds[:-1], bounds[1:] - bounds[:-1])


def group_bounds_by_edges(
    group: Int32[Array, "slots"], groups: int
) -> tuple[Int32[Array, "groups"], Int32[Array, "groups"]]:
    """Returns where each group begins and how many it has, by comparing neighbours.

    One step on a GPU, where a search takes as many as the length has bits; a CPU searches faster.

    Args:
        group: of each slot, rising; those of `groups` and more are none.
        groups: how many there are.
    """
    slot = jnp.arange(group.shape[0], dtype=jnp.int32)
    is_new = group[1:] != group[:-1]
    edge = jnp.ones(1, bool)

    def at_edges(is_edge: Bool[Array, "slots"], values: Int32[Array, "slots"]) -> Int32[Array, "groups"]:
        return jnp.zeros(groups, jnp.int32).at[jnp.where(is_edge, group, groups)].set(values, mode="drop")

    starts = at_edges(jnp.concatenate([edge, is_new]), slot)
    return starts, at_edges(jnp.concatenate([is_new, edge]), slot + 1) - starts
