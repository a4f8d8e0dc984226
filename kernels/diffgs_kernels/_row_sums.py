"""Adds up rows that belong together in plain JAX, in a fixed order: what a scatter-add does not promise on a GPU."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32


def sum_rows(
    rows: Float[Array, "entries columns"], owners: Int32[Array, "entries"], count: int
) -> Float[Array, "count columns"]:
    """Sums the rows of each owner in a tree over the entries sorted by owner.

    The running sum of each owner's rows is a segmented associative scan: log₂(entries) rounds of additions, each a few
    passes over memory, and about three times the rows' own memory while it lasts.

    Args:
        rows: any finite numbers.
        owners: whose row it is; rows of owners outside [0, count) are left out.
        count: number of owners.
    """
    entries = rows.shape[0]
    if entries == 0:
        return jnp.zeros((count, rows.shape[1]), rows.dtype)
    owners = jnp.where((owners >= 0) & (owners < count), owners, count)
    owners, order = jax.lax.sort((owners, jnp.arange(entries, dtype=jnp.int32)), num_keys=1, is_stable=True)
    is_first = jnp.concatenate([jnp.ones(1, bool), owners[1:] != owners[:-1]])

    def append(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
        return one[0] | other[0], other[1] + jnp.where(other[0], 0.0, one[1])

    _, running = jax.lax.associative_scan(append, (is_first[:, None], rows[order]))
    # An owner's sum is the running one at its last entry.
    is_last = jnp.concatenate([owners[1:] != owners[:-1], jnp.ones(1, bool)])
    return jnp.zeros((count, rows.shape[1]), rows.dtype).at[jnp.where(is_last, owners, count)].set(running, mode="drop")
