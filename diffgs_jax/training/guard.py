"""Keeps one bad batch from ruining a run: updates of abnormal size are left out and counted."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32

_DECAY = 0.99
_LEARNING_STEPS = 20  # before this many updates the usual norm is not known


class GuardState(NamedTuple):
    """What the guard remembers.

    Attributes:
        inner: state of the guarded optimizer.
        usual: running average of the logarithm of the gradient's norm.
        seen: gradients that entered the average.
        skipped: gradients that were left out.
    """

    inner: Any
    usual: Float[Array, ""]
    seen: Int32[Array, ""]
    skipped: Int32[Array, ""]


def skip_spikes(inner: optax.GradientTransformation, factor: float) -> optax.GradientTransformation:
    """Leaves out a gradient that is not finite, or whose norm is more than `factor` times the usual one.

    The usual norm is a geometric average over some hundred steps. A left-out gradient changes neither weights nor
    moments.

    Args:
        inner: the optimizer.
        factor: above 1.
    """

    def init(params: Any) -> GuardState:
        return GuardState(inner.init(params), jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, GuardState]:
        gradients = updates
        norm = optax.global_norm(gradients)
        is_known = state.seen >= _LEARNING_STEPS
        is_spike = ~jnp.isfinite(norm) | (is_known & (norm > factor * jnp.exp(state.usual)))
        harmless = jax.tree.map(lambda leaf: jnp.where(is_spike, jnp.zeros_like(leaf), leaf), gradients)
        updates, moved = inner.update(harmless, state.inner, params)
        updates = jax.tree.map(lambda leaf: jnp.where(is_spike, jnp.zeros_like(leaf), leaf), updates)
        kept = jax.tree.map(lambda old, new: jnp.where(is_spike, old, new), state.inner, moved)
        logarithm = jnp.log(jnp.maximum(jnp.where(is_spike, 1.0, norm), 1e-30))
        weight = jnp.maximum(1.0 - _DECAY, 1.0 / (state.seen + 1.0))
        usual = jnp.where(is_spike, state.usual, state.usual + weight * (logarithm - state.usual))
        seen = state.seen + jnp.where(is_spike, 0, 1).astype(jnp.int32)
        return updates, GuardState(kept, usual, seen, state.skipped + is_spike.astype(jnp.int32))

    return optax.GradientTransformation(init, update)


def skipped_updates(opt_state: Any) -> Int32[Array, ""] | None:
    """Returns how many gradients were left out so far, or None without a guard."""
    return opt_state.skipped if isinstance(opt_state, GuardState) else None
