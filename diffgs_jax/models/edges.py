"""Canny's edges (Canny 1986) as OpenCV has them, as plain array operations that run on any device."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

LOW, HIGH = 100, 200
"""Thresholds of the published control pictures: sums of the two Sobel gradients' sizes, of grey levels up to 255."""

_FRACTION = 15  # bits
_TAN_22 = round(np.tan(np.pi / 8) * (1 << _FRACTION))


def canny(gray: Int[Array | np.ndarray, "*batch h w"], low: int = LOW, high: int = HIGH) -> Bool[Array, "*batch h w"]:
    """Returns where edges are: ridges of the gradient above `low` that are connected to one above `high`.

    The gradient is Sobel's over 3 × 3 pixels, its size the sum of both components' sizes; pixels outside repeat the
    border for the gradient and have none themselves.

    Args:
        gray: grey levels, 0 to 255.
        low: of what continues an edge.
        high: of what begins one.
    """
    gray = jnp.asarray(gray, jnp.int32)
    lead = [(0, 0)] * (gray.ndim - 2)
    padded = jnp.pad(gray, [*lead, (1, 1), (1, 1)], mode="edge")

    def shifted(array: Array, down: int, right: int) -> Array:
        height, width = gray.shape[-2:]
        return array[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    def smoothed(axis_is_x: bool, step: int) -> Array:
        at = [(place, step) if axis_is_x else (step, place) for place in (-1, 0, 1)]
        return shifted(padded, *at[0]) + 2 * shifted(padded, *at[1]) + shifted(padded, *at[2])

    x = smoothed(True, 1) - smoothed(True, -1)
    y = smoothed(False, 1) - smoothed(False, -1)
    size = jnp.abs(x) + jnp.abs(y)
    around = jnp.pad(size, [*lead, (1, 1), (1, 1)])

    # The gradient's direction to 45°; of two neighbours that are as large, the second makes no ridge
    flat, steep = jnp.abs(x) * _TAN_22, jnp.abs(y) << _FRACTION
    is_flat, is_steep = steep < flat, steep > flat + (jnp.abs(x) << (_FRACTION + 1))
    is_falling = (x < 0) != (y < 0)

    def is_ridge(before: tuple[int, int], behind: tuple[int, int], *, strictly: bool) -> Array:
        second = shifted(around, *behind)
        return (size > shifted(around, *before)) & ((size > second) if strictly else (size >= second))

    diagonal = jnp.where(
        is_falling, is_ridge((-1, 1), (1, -1), strictly=True), is_ridge((-1, -1), (1, 1), strictly=True)
    )
    ridge = jnp.where(
        is_flat,
        is_ridge((0, -1), (0, 1), strictly=False),
        jnp.where(is_steep, is_ridge((-1, 0), (1, 0), strictly=False), diagonal),
    )
    weak = ridge & (size > low)

    def grown(state: tuple[Array, Array]) -> tuple[Array, Array]:
        edges, _ = state
        near = jnp.pad(edges, [*lead, (1, 1), (1, 1)])
        touched = edges
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                touched = touched | shifted(near, down, right)
        more = touched & weak
        return more, (more != edges).any()

    return jax.lax.while_loop(lambda state: state[1], grown, (weak & (size > high), jnp.asarray(True)))[0]


def edge_picture(images: Float[Array | np.ndarray, "*batch h w 3"]) -> Float[Array, "*batch h w 3"]:
    """Returns black edges on white.

    Args:
        images: in [0, 1].
    """
    red, green, blue = jnp.moveaxis(jnp.asarray(images), -1, 0)
    gray = jnp.clip((0.299 * red + 0.587 * green + 0.114 * blue) * 255, 0, 255)
    edges = canny(gray.astype(jnp.int32))
    return jnp.repeat(1.0 - edges.astype(jnp.float32)[..., None], 3, axis=-1)
