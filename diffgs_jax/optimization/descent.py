"""The loop of an optimization: runs of steps, and between them what changes the set of Gaussians."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray

from diffgs_jax.errors import DataError
from diffgs_jax.optimization.cloning import clone_and_split, prune, reset_opacities
from diffgs_jax.optimization.config import GradientGrowth, OptimizationConfig
from diffgs_jax.optimization.relocation import grow, relocate
from diffgs_jax.optimization.state import FitState

RUN = 100
"""Most steps of one call."""
_OF_GROWTH = 2**31 - 1
"""Folded into the key that changes of the set draw from; no step has this number."""


class Fitting(NamedTuple):
    """Where an optimization stands.

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


class Run(NamedTuple):
    """What a call of several steps is told.

    Attributes:
        start: steps done before.
        stop: steps done after; at most `RUN` more.
        degree: of the harmonics that count.
        key: of all that is drawn, together with the number of the step.
    """

    start: int
    stop: int
    degree: int
    key: PRNGKeyArray


def descend(
    state: FitState,
    config: OptimizationConfig,
    take_steps: Callable[[FitState, Run], tuple[FitState, float | Array]],
    is_outside: Callable[[FitState], Bool[Array, "n"]],
    extent: float,
    *,
    pause_every: int = RUN,
    pauses: tuple[int, ...] = (),
) -> Iterator[Fitting]:
    """Goes from a state to `config.steps`, and yields where it stands after every run of steps.

    What comes out depends on the first state, the settings and the two functions alone, not on where it was
    interrupted.

    Args:
        state: before.
        config: how many steps, and how the set changes.
        take_steps: takes a run of steps and returns their mean loss.
        is_outside: says which Gaussians are where none should be.
        extent: of the scene, world units.
        pause_every: yields at least at every multiple of this step.
        pauses: and at these.

    Raises:
        DataError: if the loss is not finite.
    """
    key = jax.random.key(config.seed)
    step = int(state.step)
    while step < config.steps:
        stops = [_next_multiple(step, every) for every in (pause_every, config.growth_every, config.sh_every, RUN)]
        stop = min(*stops, config.steps, *(pause for pause in pauses if pause > step))
        run = Run(step, stop, min(config.sh_degree, step // config.sh_every), key)
        state, loss = take_steps(state, run)
        step = stop
        if not np.isfinite(float(loss)):
            raise DataError(f"the loss is not finite at step {step}: lower the learning rates")
        if _is_growing(step, config):
            drawn = jax.random.fold_in(jax.random.fold_in(key, _OF_GROWTH), step)
            state = _change_set(state, drawn, extent, is_outside(state), step, config)
        if step == config.steps:
            state = state._replace(is_used=state.is_used & ~is_outside(state))
        yield Fitting(state, step, float(loss), int(jnp.sum(state.is_used)))


def means_rates(start: int, config: OptimizationConfig, extent: float) -> np.ndarray:
    """Returns the learning rates of the positions in the `RUN` steps from `start` on, world units."""
    done = np.arange(start, start + RUN) / config.steps
    rates = config.rates.means * (config.rates.means_end / config.rates.means) ** np.minimum(done, 1.0)
    return (extent * rates).astype(np.float32)


def turns(start: int, per_step: int, count: int, seed: int) -> np.ndarray:
    """Returns `[RUN, per_step]` of `count` things, every one once before any comes again, in an order drawn anew."""
    places = np.arange(start * per_step, (start + RUN) * per_step)
    order = np.empty(len(places), np.int32)
    for turn in np.unique(places // count):
        drawn = np.random.default_rng([seed, int(turn)]).permutation(count)
        is_now = places // count == turn
        order[is_now] = drawn[places[is_now] % count]
    return order.reshape(RUN, per_step)


def _is_growing(step: int, config: OptimizationConfig) -> bool:
    is_time = step % config.growth_every == 0 and config.growth_from <= step <= config.growth_until * config.steps
    return config.growth != "none" and is_time


def _change_set(
    state: FitState,
    key: PRNGKeyArray,
    extent: float,
    is_outside: Bool[Array, "n"],
    step: int,
    config: OptimizationConfig,
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


def _next_multiple(step: int, every: int) -> int:
    return (step // every + 1) * every
