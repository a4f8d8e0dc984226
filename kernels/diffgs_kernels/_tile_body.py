"""The tile body: how one tile's list of Gaussians is blended, forwards and backwards, whoever launches it.

One Gaussian's row is read as scalars and meets a vector of pixels, so nothing here needs gathers or sorting. Both
directions walk the list front to back, a stride of entries at a time: what a pixel will still receive from behind is
what it receives in all less what it has received already.

The transmittance of a pixel that has stopped is kept negated: the sign says that it stopped, the magnitude what is
left.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from diffgs_kernels._settings import Rules, Tiling

GEOMETRY = 6
"""Columns of a row before its channels: mean x, mean y, conic xx, xy, yy, opacity."""

STRIDE = 16
"""Entries between looks at whether any pixel is still open, because a look is a reduction over the tile."""

Read = Callable[[Array, int], Array]
"""Reads one number: `read(entry, column)`."""

Stage = Callable[[Array], Read]
"""Makes a stride readable: `stage(first)` returns how to read the entries from `first` to `first + STRIDE`."""

Write = Callable[[Array, int, Array], None]
"""Writes one number: `write(entry, column, value)`."""


class Pixels(NamedTuple):
    """Pixel centres measured from the tile's centre, and where in the image that is; pixels."""

    x: Float[Array, "pixels"]
    y: Float[Array, "pixels"]
    center_x: Float[Array, ""]
    center_y: Float[Array, ""]


class Splat(NamedTuple):
    """One 2D Gaussian; its mean is measured from the tile's centre."""

    x: Float[Array, ""]
    y: Float[Array, ""]
    xx: Float[Array, ""]
    xy: Float[Array, ""]
    yy: Float[Array, ""]
    opacity: Float[Array, ""]


class Footprint(NamedTuple):
    """One Gaussian at every pixel: alpha (zero where skipped), where that is clamped, and the way from its mean."""

    alpha: Float[Array, "pixels"]
    is_clamped: Bool[Array, "pixels"]
    dx: Float[Array, "pixels"]
    dy: Float[Array, "pixels"]


def pixels_of(tile: Int32[Array, ""], pixel: Int32[Array, "pixels"], tiling: Tiling, dtype: jnp.dtype) -> Pixels:
    """Returns a tile's pixels, row by row.

    Args:
        tile: number of the tile among those of all images.
        pixel: 0, 1, 2, …, laid out as the launcher wants its vectors.
        tiling: of every image.
        dtype: of the coordinates.
    """
    local = tile % (tiling.columns * tiling.rows)
    half = 0.5 * tiling.side
    return Pixels(
        x=(pixel % tiling.side).astype(dtype) + (0.5 - half),
        y=(pixel // tiling.side).astype(dtype) + (0.5 - half),
        center_x=(local % tiling.columns * tiling.side).astype(dtype) + half,
        center_y=(local // tiling.columns * tiling.side).astype(dtype) + half,
    )


def blend_list(
    stage: Stage,
    start: Int32[Array, ""],
    end: Int32[Array, ""],
    transmittance: Float[Array, "pixels"],
    blended: tuple[Float[Array, "pixels"], ...],
    pixels: Pixels,
    rules: Rules,
) -> tuple[Float[Array, "pixels"], tuple[Float[Array, "pixels"], ...]]:
    """Blends the entries `start` to `end` over what is already there.

    Args:
        stage: of the entries' rows, `GEOMETRY` columns and then the channels.
        start: the first entry.
        end: behind the last.
        transmittance: left at each pixel, negated where blending has stopped.
        blended: one vector a channel.
        pixels: of the tile.
        rules: thresholds.

    Returns:
        `transmittance` and `blended` afterwards.
    """

    def visit(read: Read, entry: Array, state: tuple) -> tuple:
        transmittance, blended = state
        alpha = _footprint(_splat(read, entry, pixels), pixels, rules).alpha
        transmittance, weight = _dim(transmittance, alpha, rules)[:2]
        return transmittance, tuple(total + weight * read(entry, GEOMETRY + c) for c, total in enumerate(blended))

    return _walk(visit, stage, start, end, (transmittance, blended))[1]


def blend_list_backward(
    stage: Stage,
    write: Write,
    start: Int32[Array, ""],
    end: Int32[Array, ""],
    transmittance: Float[Array, "pixels"],
    behind: Float[Array, "pixels"],
    cotangents: tuple[Float[Array, "pixels"], ...],
    pixels: Pixels,
    rules: Rules,
) -> tuple[Int32[Array, ""], Float[Array, "pixels"], Float[Array, "pixels"]]:
    """Writes the gradient of each entry's row, as far as any pixel is open; the rows behind are left as they are.

    With w = T·alpha and g the channels' cotangents, the gradient of alpha is T·(c·g) − behind/(1 − alpha).

    Args:
        stage: as in `blend_list`.
        write: of an entry's gradient row.
        start: as in `blend_list`.
        end: as in `blend_list`.
        transmittance: as in `blend_list`, before this list.
        behind: what each pixel's loss receives from these entries and all behind them, background included.
        cotangents: of the blended channels, one vector a channel.
        pixels: as in `blend_list`.
        rules: as in `blend_list`.

    Returns:
        The first entry whose gradient was not written, and `transmittance` and `behind` afterwards.
    """

    def visit(read: Read, entry: Array, state: tuple) -> tuple:
        transmittance, behind = state
        splat = _splat(read, entry, pixels)
        footprint = _footprint(splat, pixels, rules)
        dimmed, weight, is_live = _dim(transmittance, footprint.alpha, rules)
        received = jnp.zeros_like(transmittance)
        for c, cotangent in enumerate(cotangents):
            received = received + cotangent * read(entry, GEOMETRY + c)
        behind = behind - weight * received
        slope = jnp.where(is_live, transmittance * received - behind / (1.0 - footprint.alpha), 0.0)
        for column, value in enumerate(_splat_gradient(splat, footprint, slope)):
            write(entry, column, value)
        for c, cotangent in enumerate(cotangents):
            write(entry, GEOMETRY + c, jnp.sum(weight * cotangent))
        return dimmed, behind

    reached, (transmittance, behind) = _walk(visit, stage, start, end, (transmittance, behind))
    return reached, transmittance, behind


def _walk(
    visit: Callable[[Read, Array, tuple], tuple], stage: Stage, start: Array, end: Array, state: tuple
) -> tuple[Array, tuple]:
    """Visits entries front to back until the list ends or all pixels stop; transmittance is first in `state`."""

    def is_open(carry: tuple[Array, tuple]) -> Array:
        return (carry[0] < end) & (jnp.max(carry[1][0]) > 0.0)

    def stride(carry: tuple[Array, tuple]) -> tuple[Array, tuple]:
        until = jnp.minimum(carry[0] + STRIDE, end)
        return until, jax.lax.fori_loop(carry[0], until, functools.partial(visit, stage(carry[0])), carry[1])

    return jax.lax.while_loop(is_open, stride, (start, state))


def _splat(read: Read, entry: Array, pixels: Pixels) -> Splat:
    x, y, xx, xy, yy, opacity = (read(entry, column) for column in range(GEOMETRY))
    # Moved before pixels are subtracted: near the tile, where it matters, this difference is small and rounds little.
    return Splat(x - pixels.center_x, y - pixels.center_y, xx, xy, yy, opacity)


def _footprint(splat: Splat, pixels: Pixels, rules: Rules) -> Footprint:
    dx, dy = pixels.x - splat.x, pixels.y - splat.y
    power = 0.5 * (splat.xx * dx * dx + splat.yy * dy * dy) + splat.xy * dx * dy
    free = splat.opacity * jnp.exp(-power)
    is_drawn = (power >= 0.0) & (free >= rules.alpha_min)
    alpha = jnp.where(is_drawn, jnp.minimum(free, rules.alpha_max), 0.0)
    return Footprint(alpha, free > rules.alpha_max, dx, dy)


def _dim(transmittance: Array, alpha: Array, rules: Rules) -> tuple[Array, Array, Array]:
    """Returns the transmittance behind a Gaussian, the weight of its blending, and where it is blended at all."""
    left = transmittance * (1.0 - alpha)
    is_live = left >= rules.transmittance_min
    return jnp.where(is_live, left, -jnp.abs(transmittance)), jnp.where(is_live, transmittance * alpha, 0.0), is_live


def _splat_gradient(splat: Splat, footprint: Footprint, slope: Array) -> tuple[Array, ...]:
    """Sums d/dalpha over the pixels into gradients of the geometry's columns.

    alpha = o·exp(−power), so d/dpower = −alpha·d/dalpha, and no gradient passes a clamped or skipped alpha.
    """
    by_power = jnp.where(footprint.is_clamped, 0.0, -footprint.alpha * slope)
    x, y = by_power * footprint.dx, by_power * footprint.dy
    sum_x, sum_y = jnp.sum(x), jnp.sum(y)
    return (
        -(splat.xx * sum_x + splat.xy * sum_y),
        -(splat.xy * sum_x + splat.yy * sum_y),
        0.5 * jnp.sum(x * footprint.dx),
        jnp.sum(x * footprint.dy),
        0.5 * jnp.sum(y * footprint.dy),
        -jnp.sum(by_power) / jnp.where(splat.opacity > 0.0, splat.opacity, 1.0),
    )
