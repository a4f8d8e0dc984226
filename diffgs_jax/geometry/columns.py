"""Columns of arrays of small vectors as arrays of their own.

A CPU works on many numbers at once where they lie side by side, as each coordinate does in `[3, n]`, but not in
`[n, 3]`. Left to itself XLA merges a transposition with the arithmetic before and after it, and then computes one
number after the other, several times over. So arithmetic by component takes its inputs apart and puts its results
together here.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_WIDEST = 32
"""Vectors of more components are left to XLA: a product with the identity costs the square of their number."""


def split_columns(values: Float[Array, "*batch k"]) -> list[Float[Array, "*batch"]]:
    """Returns `[values[..., 0], values[..., 1], …]`.

    Args:
        values: vectors of few components. On a CPU, one that is not finite leaves no component of its vector finite.
    """
    count = values.shape[-1]
    if not _is_multiplied(values.size, count):
        return [values[..., i] for i in range(count)]
    flat = values.reshape(-1, count)
    # A product with the identity is a transposition that XLA does not merge with anything.
    rows = jnp.einsum("nk,kj->jn", flat, jnp.eye(count, dtype=flat.dtype), precision=jax.lax.Precision.HIGHEST)
    return list(jnp.unstack(rows.reshape(count, *values.shape[:-1])))


def join_columns(columns: Sequence[Float[Array, "*batch"]]) -> Float[Array, "*batch k"]:
    """Returns `jnp.stack(columns, axis=-1)`.

    Args:
        columns: one for each component, of one shape and type. On a CPU, one that is not finite leaves no component of
            its vector finite.
    """
    count = len(columns)
    if not _is_multiplied(columns[0].size, count):
        return jnp.stack(columns, axis=-1)
    rows = jnp.stack([column.reshape(-1) for column in columns])
    flat = jnp.einsum("jn,jk->nk", rows, jnp.eye(count, dtype=rows.dtype), precision=jax.lax.Precision.HIGHEST)
    return flat.reshape(*columns[0].shape, count)


def _is_multiplied(size: int, count: int) -> bool:
    return jax.default_backend() == "cpu" and size > 0 and count <= _WIDEST
