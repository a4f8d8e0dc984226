"""The loop of a fit: runs of steps, and between them what changes the set of Gaussians."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray

from diffgs_jax.errors import DataError
from diffgs_jax.optimization.cloning import clone_and_split, prune, reset_opacities
from diffgs_jax.optimization.config import FitConfig, GradientGrowth
from diffgs_jax.optimization.initialization import outside_silhouettes
from diffgs_jax.optimization.posed_images import PosedImages, scene_extent
from diffgs_jax.optimization.relocation import grow, relocate
from diffgs_jax.optimization.state import FitState
from diffgs_jax.optimization.steps import Plan, knobs_of, run_steps

_RUN = 100
"""Most steps of one call."""
_OF_GROWTH = 2**31 - 1
"""Folded into the key that changes of the set draw from; no step has this number."""


class Fitting(NamedTuple):
    """Where a fit stands.

    Attributes:
        state: after the steps so far.
        step: how many that are.
        loss: mean over the steps since the last time.
        count: Gaussians in use.
    """

    state: FitState
    step: int
    loss: float
    count: int


def fit(images: PosedImages, state: FitState, config: FitConfig, *, pause_every: int = _RUN) -> Iterator[Fitting]:
    """Goes from a state to `config.steps`, and yields where it stands after every run of steps.

    What comes out depends on the images, the first state and the settings alone, not on where it was interrupted.

    Args:
        images: to be fitted.
        state: before; of `initial_state`, or one that an earlier call yielded.
        config: how.
        pause_every: yields at least at every multiple of this step.

    Raises:
        DataError: if the loss is not finite.
    """
    extent = scene_extent(images.cameras)
    on_device = jax.tree.map(jnp.asarray, images)
    key = jax.random.key(config.seed)
    knobs = knobs_of(config)
    step = int(state.step)
    while step < config.steps:
        stops = [_next_multiple(step, every) for every in (pause_every, config.growth_every, config.sh_every, _RUN)]
        stop = min(*stops, config.steps)
        plan = _plan(step, len(images.pixels), extent, config)
        degree = min(config.sh_degree, step // config.sh_every)
        state, loss = run_steps(state, on_device, plan, stop - step, degree, key, knobs)
        step = stop
        if not np.isfinite(float(loss)):
            raise DataError(f"the loss is not finite at step {step}: lower the learning rates")
        if _is_growing(step, config):
            drawn = jax.random.fold_in(jax.random.fold_in(key, _OF_GROWTH), step)
            state = _change_set(state, drawn, extent, _is_outside(state, images), step, config)
        if step == config.steps:
            state = state._replace(is_used=state.is_used & ~_is_outside(state, images))
        yield Fitting(state, step, float(loss), int(jnp.sum(state.is_used)))


def _is_growing(step: int, config: FitConfig) -> bool:
    is_time = step % config.growth_every == 0 and config.growth_from <= step <= config.growth_until * config.steps
    return config.growth != "none" and is_time


def _is_outside(state: FitState, images: PosedImages) -> Bool[Array, "n"]:
    """Returns which Gaussians have drifted to where few images see them, and those that do see no object there."""
    return jnp.asarray(outside_silhouettes(np.asarray(state.parameters.means), images))


def _change_set(
    state: FitState, key: PRNGKeyArray, extent: float, is_outside: Bool[Array, "n"], step: int, config: FitConfig
) -> FitState:
    if config.growth == "relocation":
        settings = config.by_relocation
        return _relocate_and_grow(state, key, settings.dead_below, settings.growth, is_outside)
    state = state._replace(is_used=state.is_used & ~is_outside)
    every = config.by_gradient.reset_every
    # Before the first reset, large ones may still be what is about to be split.
    state = _densify(state, key, extent, 0 < every < step, config.by_gradient)
    return reset_opacities(state) if every and step % every == 0 else state


@jax.jit
def _relocate_and_grow(
    state: FitState, key: PRNGKeyArray, dead_below: float | Array, share: float | Array, is_outside: Array
) -> FitState:
    first, second = jax.random.split(key)
    return grow(relocate(state, first, dead_below, is_outside), second, share)


@functools.partial(jax.jit, static_argnames="settings")
def _densify(
    state: FitState, key: PRNGKeyArray, extent: float | Array, large: bool | Array, settings: GradientGrowth
) -> FitState:
    return clone_and_split(prune(state, settings, extent, large=large), key, settings, extent)


def _plan(step: int, count: int, extent: float, config: FitConfig) -> Plan:
    """Returns the plan of the next `_RUN` steps: every image once before any comes again, in an order drawn anew."""
    places = np.arange(step * config.images_per_step, (step + _RUN) * config.images_per_step)
    order = np.empty(len(places), np.int32)
    for turn in np.unique(places // count):
        drawn = np.random.default_rng([config.seed, int(turn)]).permutation(count)
        is_now = places // count == turn
        order[is_now] = drawn[places[is_now] % count]
    done = np.arange(step, step + _RUN) / config.steps
    rates = config.rates.means * (config.rates.means_end / config.rates.means) ** np.minimum(done, 1.0)
    return Plan(order.reshape(_RUN, config.images_per_step), (extent * rates).astype(np.float32))


def _next_multiple(step: int, every: int) -> int:
    return (step // every + 1) * every
