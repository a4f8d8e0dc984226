"""Gaussians cloned, split and taken out by how they are pulled: adaptive density control (Kerbl et al. 2023, 5.2)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from diffgs_jax.geometry import rotation_matrices
from diffgs_jax.optimization.config import GradientGrowth
from diffgs_jax.optimization.state import FitState, Pulls, with_slots

_SPLIT_BY = 1.6
"""What the scales of a split Gaussian are divided by; published."""
_RESET_OPACITY = 0.01


def prune(
    state: FitState, settings: GradientGrowth, extent: float | Float[Array, ""], *, large: bool | Bool[Array, ""]
) -> FitState:
    """Takes out what is faint and, if asked, what is large.

    Args:
        state: before.
        settings: says what is faint and large.
        extent: of the scene, world units.
        large: whether to take out what is large.
    """
    size = jnp.exp(jnp.max(state.parameters.log_scales, axis=1))
    goes = jax.nn.sigmoid(state.parameters.logits) < settings.prune_below
    goes |= large & (size > settings.prune_above * extent)
    return state._replace(is_used=state.is_used & ~goes)


def clone_and_split(
    state: FitState, key: PRNGKeyArray, settings: GradientGrowth, extent: float | Float[Array, ""]
) -> FitState:
    """Clones small Gaussians that are pulled hard, and puts two smaller ones in place of large ones.

    Each takes one slot more. Where slots are short, those that are pulled hardest come first. What has been gathered
    of the pulls starts anew.

    Args:
        state: before.
        key: of the places of the split ones, which are drawn from what they replace.
        settings: thresholds.
        extent: of the scene, world units.
    """
    slots = len(state.parameters.logits)
    pull = state.pulls.total / jnp.maximum(state.pulls.images, 1.0)
    is_wanted = state.is_used & (pull > settings.threshold)
    parent = jnp.argsort(jnp.where(is_wanted, -pull, jnp.inf), stable=True)
    child = jnp.argsort(state.is_used, stable=True)
    count = jnp.minimum(jnp.sum(is_wanted), jnp.sum(~state.is_used))
    is_pair = jnp.arange(slots) < count

    old = jax.tree.map(lambda leaf: leaf[parent], state.parameters)
    scales = jnp.exp(old.log_scales)
    is_split = jnp.max(scales, axis=1) > settings.split_above * extent
    turns = rotation_matrices(old.rotations)

    def place(key: PRNGKeyArray) -> Array:
        local = scales * jax.random.normal(key, scales.shape)
        moved = old.means + jnp.sum(turns * local[:, None, :], axis=-1)
        return jnp.where(is_split[:, None], moved, old.means)

    first, second = jax.random.split(key)
    smaller = old._replace(log_scales=old.log_scales - jnp.where(is_split, math.log(_SPLIT_BY), 0.0)[:, None])
    state = with_slots(state, jnp.where(is_pair, child, slots), smaller._replace(means=place(first)), True)
    replaced = jnp.where(is_pair & is_split, parent, slots)
    state = with_slots(state, replaced, smaller._replace(means=place(second)), True)
    zeros = jnp.zeros_like(state.pulls.total)
    return state._replace(pulls=Pulls(zeros, zeros))


def reset_opacities(state: FitState) -> FitState:
    """Brings every opacity down to 0.01 where it is more, so that what the images do not need stays faint."""
    most = math.log(_RESET_OPACITY / (1 - _RESET_OPACITY))
    zeros = jnp.zeros_like(state.parameters.logits)
    mu: Any = state.moments.mu
    nu: Any = state.moments.nu
    return state._replace(
        parameters=state.parameters._replace(logits=jnp.minimum(state.parameters.logits, most)),
        moments=state.moments._replace(mu=mu._replace(logits=zeros), nu=nu._replace(logits=zeros)),
    )
