"""Which Gaussians touch which tiles: depth-ordered lists of bounded length, made in as many passes as it takes.

All images of a launch are one flat problem: tile ids count through all images, and Gaussians are visited in the order
(image, depth). A pass takes as many Gaussians from that order as fit into the list's capacity, so that whatever does
not fit is simply met later, still in depth order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from diffgs_jax.rasterizer._ordering import depth_order, group_pairs, images_to_pack
from diffgs_jax.rasterizer._tiles import TileGrid
from diffgs_jax.rasterizer.projection import Projection

_LONG_LIST = 1 << 19  # slots; making a shorter list takes too little time to compile anything for
_EXTENT_MARGIN = 1e-3  # relative; rounding must not hide a pixel at which alpha just reaches 1/255


class TileRectangles(NamedTuple):
    """Half-open rectangles of tiles, for every Gaussian in the order (image, depth).

    Attributes:
        ids: `[m]` which row of the flattened (image, Gaussian) table this is.
        first: `[m, 2]` first tile (column, row) touched.
        size: `[m, 2]` number of tiles touched (columns, rows); zero for what is not drawn.
    """

    ids: Int32[Array, "m"]
    first: Int32[Array, "m 2"]
    size: Int32[Array, "m 2"]


class TileLists(NamedTuple):
    """One pass: for every tile, the Gaussians that touch it, front to back.

    Attributes:
        ids: `[capacity]` rows of the flattened (image, Gaussian) table; what is past the last tile's list is undefined.
        starts: `[tiles]` where each tile's list begins.
        counts: `[tiles]` how long it is.
        start: where in the order (image, depth) this pass began.
        next_splat: where the next one begins; m when there is none.
        owners: for every row of the table, where its entries stand if they are ordered by splat and not by tile, as
            `diffgs_kernels.blend_pass_backward` wants to know; None for who does not ask.
    """

    ids: Int32[Array, "capacity"]
    starts: Int32[Array, "tiles"]
    counts: Int32[Array, "tiles"]
    start: Int32[Array, ""]
    next_splat: Int32[Array, ""]
    owners: Int32[Array, "m 4"] | None = None


def tile_rectangles(projection: Projection, grid: TileGrid) -> TileRectangles:
    """Finds the tiles whose pixel centres a Gaussian's extent can reach, and sorts Gaussians by image and depth.

    Args:
        projection: 2D Gaussians `[images, n]`.
        grid: tiles of every image.
    """
    images, count = projection.depths.shape
    order = depth_order(projection.depths, projection.is_visible)
    ids = (order + jnp.arange(images, dtype=jnp.int32)[:, None] * count).reshape(-1)

    means = projection.means.reshape(-1, 2)[ids]
    reach = projection.extents.reshape(-1, 2)[ids] * (1.0 + _EXTENT_MARGIN) + _EXTENT_MARGIN
    visible = projection.is_visible.reshape(-1)[ids]
    pixels = jnp.asarray([grid.width, grid.height], means.dtype)[None, :]
    # Pixel centres are at integers + 0.5; clipped while still floating, because float to int32 may overflow.
    low = jnp.ceil(jnp.clip(means - reach - 0.5, 0.0, pixels)).astype(jnp.int32)
    high = jnp.floor(jnp.clip(means + reach - 0.5, -1.0, pixels - 1.0)).astype(jnp.int32)
    touched = visible & jnp.all(low <= high, axis=-1)
    first, last = low // grid.tile, high // grid.tile
    return TileRectangles(ids, first, jnp.where(touched[:, None], last - first + 1, 0))


def list_tiles(
    rectangles: TileRectangles,
    is_open: Bool[Array, "tiles"],
    start: Int32[Array, ""],
    grid: TileGrid,
    *,
    images: int,
    capacity: int,
    with_owners: bool = False,
) -> TileLists:
    """Lists the tiles of as many Gaussians, from `start` on, as `capacity` holds.

    A Gaussian that touches no open tile takes no room: behind an opaque surface nothing is listed any more.

    Args:
        rectangles: what every Gaussian touches, in the order (image, depth).
        is_open: tiles in which anything can still be seen.
        start: the first Gaussian of this pass, an index into that order.
        grid: tiles of every image.
        images: how many images are rendered together.
        capacity: length of the list; at least `grid.tiles`, so that every pass makes progress.
        with_owners: also say where each Gaussian's entries stand.
    """
    total = rectangles.ids.shape[0]
    per_image = total // images
    # More Gaussians than this rarely fit into one pass, and every pass looks at all of its window.
    window = min(total, 2 * capacity)
    offset = jnp.minimum(start, total - window)
    first = jax.lax.dynamic_slice_in_dim(rectangles.first, offset, window)
    size = jax.lax.dynamic_slice_in_dim(rectangles.size, offset, window)
    index = jnp.arange(window, dtype=jnp.int32)
    touched = jnp.where(offset + index >= start, size[:, 0] * size[:, 1], 0)
    touched = jax.lax.cond(
        start == 0,  # everything is open then
        lambda: touched,
        lambda: jnp.where(_reach_any(is_open, first, size, (offset + index) // per_image, grid), touched, 0),
    )
    # The running sum may leave int32 behind the first Gaussian that does not fit, but not before.
    ends = jnp.cumsum(touched, dtype=jnp.int32)
    end = jnp.min(jnp.where(ends > capacity, index, window))
    sizes = {"tiles": grid.tiles, "images": images, "per_image": per_image}
    together = images_to_pack(capacity, **sizes)
    if 0 < together < images:
        end = jnp.minimum(end, (start // per_image + together) * per_image - offset)
    length = jnp.where(end > 0, ends[jnp.maximum(end - 1, 0)], 0)
    begins = jnp.where(index < end, ends - touched, capacity)

    def list_in(slots: int) -> tuple[Array, Array, Array]:
        """Returns ids, starts and counts, made in a list of so many slots."""
        # Slot i of the list belongs to the last Gaussian whose entries begin at or before i.
        slot = jnp.arange(slots, dtype=jnp.int32)
        splat = jnp.cumsum(jnp.zeros(slots, jnp.int32).at[begins].add(1, mode="drop")) - 1
        within = slot - _take(begins, splat)
        columns = jnp.maximum(_take(size[:, 0], splat), 1)
        row = jax.lax.div(within, columns)  # truncates, which floor division does three times slower
        column = within - row * columns
        tile = (_take(first[:, 1], splat) + row) * grid.columns + _take(first[:, 0], splat) + column
        rank = offset + splat
        tile = (rank // per_image) * grid.tiles + tile
        groups = group_pairs(tile, rank, slot < length, start // per_image, capacity=capacity, **sizes)
        ids = rectangles.ids.at[groups.ranks].get(mode="clip")
        return jnp.pad(ids, (0, capacity - slots)), groups.starts, groups.counts

    # Making a list costs by its length, full or not, and every length costs a second of compiling. Splats of a trained
    # network touch 2 tiles each, of the 6 that there is room for by default.
    short = 3 * capacity // 8
    if capacity < _LONG_LIST:
        ids, starts, counts = list_in(capacity)
    else:
        ids, starts, counts = jax.lax.cond(length <= short, lambda: list_in(short), lambda: list_in(capacity))
    owners = None
    if with_owners:
        # Entries are made in the order (image, depth, tile), so a Gaussian's are those from `begins` on.
        listed = jnp.where(index < end, touched, 0)
        corner = begins - first[:, 1] * size[:, 0] - first[:, 0]
        rows = jnp.stack([corner, size[:, 0], begins, listed], axis=-1)
        splats = jax.lax.dynamic_slice_in_dim(rectangles.ids, offset, window)
        owners = jnp.zeros((total, 4), jnp.int32).at[splats].set(rows, unique_indices=True)
    return TileLists(ids, starts, counts, start, next_splat=offset + end, owners=owners)


def no_lists(grid: TileGrid, splats: int, *, images: int, capacity: int, with_owners: bool = False) -> TileLists:
    """Returns what comes before the first pass: nothing is listed, and the next pass begins with the first Gaussian.

    Args:
        grid: tiles of every image.
        splats: Gaussians of all images.
        images: how many images are rendered together.
        capacity: length of the lists.
        with_owners: as in `list_tiles`.
    """
    empty = jnp.zeros(images * grid.tiles, jnp.int32)
    owners = jnp.zeros((splats, 4), jnp.int32) if with_owners else None
    return TileLists(jnp.zeros(capacity, jnp.int32), empty, empty, jnp.int32(-1), jnp.int32(0), owners)


def _reach_any(
    is_open: Bool[Array, "tiles"],
    first: Int32[Array, "window 2"],
    size: Int32[Array, "window 2"],
    image: Int32[Array, "window"],
    grid: TileGrid,
) -> Bool[Array, "window"]:
    """Returns which rectangles hold an open tile, by counting with a summed-area table."""
    table = is_open.reshape(-1, grid.rows, grid.columns).astype(jnp.int32)
    table = jnp.pad(jnp.cumsum(jnp.cumsum(table, axis=1), axis=2), ((0, 0), (1, 0), (1, 0)))
    stop = first + size

    def corner(row: Int32[Array, "window"], column: Int32[Array, "window"]) -> Int32[Array, "window"]:
        return table.at[image, row, column].get(mode="clip")

    low = corner(stop[:, 1], first[:, 0]) + corner(first[:, 1], stop[:, 0])
    return corner(stop[:, 1], stop[:, 0]) + corner(first[:, 1], first[:, 0]) > low


def _take(values: Int32[Array, "window"], index: Int32[Array, "capacity"]) -> Int32[Array, "capacity"]:
    return values.at[index].get(mode="clip")
