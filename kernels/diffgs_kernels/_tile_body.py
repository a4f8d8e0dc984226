"""The tile body: how one tile's list of Gaussians is blended, forwards and backwards, whoever launches it.

One Gaussian's row is read as scalars and meets vectors of pixels, so nothing here needs vectors of indices or sorting.
Both directions walk the list front to back: what a pixel will still receive from behind is what it receives in all less
what it has received already. A row is asked for while the one before it is blended, and its number one entry earlier,
so that nothing waits for memory.

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

_MOMENTS = 6  # sums over the pixels that the gradient of the geometry needs

STRIDE = 16
"""Entries between looks at whether any pixel is still open, because a look is a reduction over the tile."""

Row = tuple[Array, ...]
"""One Gaussian's numbers: `GEOMETRY` of geometry, then the channels, then what the launcher wants to know besides."""


class List(NamedTuple):
    """One tile's list: entries `start` to `end`, which row of the table an entry is, and that row's numbers.

    `number` is also asked for one or two entries behind the end, and must return the number of some row there.
    """

    start: Int32[Array, ""]
    end: Int32[Array, ""]
    number: Callable[[Array], Array]
    row: Callable[[Array], Row]


class Gradients(NamedTuple):
    """Where gradient rows go.

    `total` sums a vector over its pixels, or leaves that to `write`; `write(place, row, gradient)` is called for each
    entry of a stride with its place in the stride and one gradient a column; `flush(entries)` after every stride, with
    the number of its entries; `clear(row)` for every entry that no pixel saw.
    """

    stride: int
    total: Callable[[Array], Array]
    write: Callable[[Array, Row, tuple[Array, ...]], None]
    flush: Callable[[Array], None]
    clear: Callable[[Row], None]


class Pixels(NamedTuple):
    """Some of a tile's pixel centres, measured from the tile's centre, and where in the image that is; pixels."""

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


Parts = tuple[Float[Array, "pixels"], ...]
"""A number for each pixel of a tile, in as many vectors as the launcher likes."""


class _Ahead(NamedTuple):
    row: Row
    number: Int32[Array, ""]


class Footprint(NamedTuple):
    """One Gaussian at some pixels: alpha (zero where skipped), where that is clamped, and the way from its mean."""

    alpha: Float[Array, "pixels"]
    is_clamped: Bool[Array, "pixels"]
    dx: Float[Array, "pixels"]
    dy: Float[Array, "pixels"]


def pixels_of(tile: Int32[Array, ""], pixel: Int32[Array, "pixels"], tiling: Tiling, dtype: jnp.dtype) -> Pixels:
    """Returns some of a tile's pixels.

    Args:
        tile: number of the tile among those of all images.
        pixel: their numbers, row by row, laid out as the launcher wants its vectors.
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
    listed: List,
    transmittance: Parts,
    blended: tuple[Parts, ...],
    pixels: tuple[Pixels, ...],
    rules: Rules,
) -> tuple[Parts, tuple[Parts, ...]]:
    """Blends a list over what is already there.

    Args:
        listed: the tile's entries, front to back.
        transmittance: left at each pixel, negated where blending has stopped.
        blended: one for each channel.
        pixels: of the tile.
        rules: thresholds.

    Returns:
        `transmittance` and `blended` afterwards.
    """

    def visit(entry: Array, row: Row, state: tuple) -> tuple:
        del entry
        transmittance, blended = state
        alphas = [_footprint(_splat(row, part), part, rules).alpha for part in pixels]
        dimmed = [_dim(light, alpha, rules) for light, alpha in zip(transmittance, alphas, strict=True)]
        blended = tuple(
            tuple(total + weight * row[GEOMETRY + c] for total, (_, weight, _) in zip(parts, dimmed, strict=True))
            for c, parts in enumerate(blended)
        )
        return tuple(light for light, _, _ in dimmed), blended

    return _walk(visit, lambda entries: None, STRIDE, listed, (transmittance, blended))[1]


def blend_list_backward(
    listed: List,
    gradients: Gradients,
    transmittance: Parts,
    behind: Parts,
    cotangents: tuple[Parts, ...],
    pixels: tuple[Pixels, ...],
    rules: Rules,
) -> tuple[Parts, Parts]:
    """Writes the gradient of each entry's row: of all of them, zeros for those that no pixel saw.

    With w = T·alpha and g the channels' cotangents, the gradient of alpha is T·(c·g) − behind/(1 − alpha).

    Args:
        listed: as in `blend_list`.
        gradients: where they go.
        transmittance: as in `blend_list`, before this list.
        behind: what each pixel's loss receives from these entries and all behind them, background included.
        cotangents: of the blended channels, one for each.
        pixels: as in `blend_list`.
        rules: as in `blend_list`.

    Returns:
        `transmittance` and `behind` afterwards.
    """

    def visit_part(row: Row, light: Array, behind: Array, cotangents: list[Array], part: Pixels) -> tuple:
        splat = _splat(row, part)
        footprint = _footprint(splat, part, rules)
        dimmed, weight, is_live = _dim(light, footprint.alpha, rules)
        received = jnp.zeros_like(light)
        for c, cotangent in enumerate(cotangents):
            received = received + cotangent * row[GEOMETRY + c]
        behind = behind - weight * received
        slope = jnp.where(is_live, light * received - behind / (1.0 - footprint.alpha), 0.0)
        return dimmed, behind, (*_moments(footprint, slope), *(weight * cotangent for cotangent in cotangents))

    def visit(entry: Array, row: Row, state: tuple) -> tuple:
        transmittance, behind = state
        parts = [
            visit_part(row, transmittance[i], behind[i], [channel[i] for channel in cotangents], part)
            for i, part in enumerate(pixels)
        ]
        sums = [gradients.total(functools.reduce(jnp.add, terms)) for terms in zip(*(p[2] for p in parts), strict=True)]
        geometry = _geometry_gradient(_splat(row, pixels[0]), sums[:_MOMENTS])
        gradients.write((entry - listed.start) % gradients.stride, row, (*geometry, *sums[_MOMENTS:]))
        return tuple(part[0] for part in parts), tuple(part[1] for part in parts)

    def clear(entry: Array, row: Row, state: tuple) -> tuple:
        del entry
        gradients.clear(row)
        return state

    reached, state = _walk(visit, gradients.flush, gradients.stride, listed, (transmittance, behind))
    rest = listed._replace(start=reached)
    _visit_entries(clear, rest, reached, listed.end, _look_ahead(rest), ())
    return state


def _walk(
    visit: Callable[[Array, Row, tuple], tuple],
    after: Callable[[Array], None],
    length: int,
    listed: List,
    state: tuple,
) -> tuple[Array, tuple]:
    """Visits entries front to back until the list ends or all pixels stop; transmittance is first in `state`.

    Returns:
        The first entry that was not visited, and the state after those that were.
    """

    def is_open(carry: tuple[Array, _Ahead, tuple]) -> Array:
        light = functools.reduce(jnp.maximum, carry[2][0])
        return (carry[0] < listed.end) & (jnp.max(light) > 0.0)

    def stride(carry: tuple[Array, _Ahead, tuple]) -> tuple[Array, _Ahead, tuple]:
        first, ahead, state = carry
        until = jnp.minimum(first + length, listed.end)
        ahead, state = _visit_entries(visit, listed, first, until, ahead, state)
        after(until - first)
        return until, ahead, state

    reached, _, state = jax.lax.while_loop(is_open, stride, (listed.start, _look_ahead(listed), state))
    return reached, state


def _look_ahead(listed: List) -> _Ahead:
    """Returns the row of a list's first entry, and the number of its second."""
    return _Ahead(listed.row(listed.number(listed.start)), listed.number(listed.start + 1))


def _visit_entries(
    visit: Callable[[Array, Row, tuple], tuple], listed: List, first: Array, until: Array, ahead: _Ahead, state: tuple
) -> tuple[_Ahead, tuple]:
    """Visits the entries `first` to `until`, asking for rows before they are needed."""

    def step(entry: Array, carry: tuple[_Ahead, tuple]) -> tuple[_Ahead, tuple]:
        ahead, state = carry
        following = _Ahead(listed.row(ahead.number), listed.number(entry + 2))
        return following, visit(entry, ahead.row, state)

    return jax.lax.fori_loop(first, until, step, (ahead, state))


def _splat(row: Row, pixels: Pixels) -> Splat:
    x, y, xx, xy, yy, opacity = row[:GEOMETRY]
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


def _moments(footprint: Footprint, slope: Array) -> tuple[Array, ...]:
    """Returns what must be summed over the pixels to have the gradient of the geometry: d/dpower times 1, dx, dy, ….

    alpha = o·exp(−power), so d/dpower = −alpha·d/dalpha, and no gradient passes a clamped or skipped alpha.
    """
    by_power = jnp.where(footprint.is_clamped, 0.0, -footprint.alpha * slope)
    x, y = by_power * footprint.dx, by_power * footprint.dy
    return by_power, x, y, x * footprint.dx, x * footprint.dy, y * footprint.dy


def _geometry_gradient(splat: Splat, moments: list[Array]) -> tuple[Array, ...]:
    """Turns the sums of `_moments` into the gradient of the geometry's columns."""
    by_power, x, y, xx, xy, yy = moments
    return (
        -(splat.xx * x + splat.xy * y),
        -(splat.xy * x + splat.yy * y),
        0.5 * xx,
        xy,
        0.5 * yy,
        -by_power / jnp.where(splat.opacity > 0.0, splat.opacity, 1.0),
    )
