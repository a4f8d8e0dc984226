"""The loop from noise to a clean array: one `lax.scan`, whatever the sampler and whatever the array means."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from diffgs_jax.diffusion.predictions import Prediction
from diffgs_jax.diffusion.samplers import Sampler

Denoise = Callable[[Float[Array, "b *shape"], Int[Array, "b"]], Prediction]
"""From a noisy array and its training timesteps to a prediction of the clean one; differentiable like any function."""


class SamplerState(NamedTuple):
    """What one step of a sampler hands to the next.

    Attributes:
        x: `[b, *shape]` the noisy array.
        prediction: the denoiser's at the step before; zeros ahead of the first.
    """

    x: Float[Array, "b *shape"]
    prediction: Prediction


def sample(
    denoise: Denoise,
    sampler: Sampler,
    x_T: Float[Array, "b *shape"],  # noqa: N803 (the field's name)
    key: PRNGKeyArray | None = None,
    *,
    on_step: Callable[[int], None] | None = None,
) -> Prediction:
    """Denoises `x_T` all the way and returns the last prediction.

    Meant to be called inside `jax.jit`, with the denoiser's parameters as arguments of the jitted function; the
    denoiser is compiled once. Reverse-mode differentiable.

    Args:
        denoise: is given x and training timesteps, the same for every example.
        sampler: the steps to take.
        x_T: the start, standard normal; its dtype is the loop's.
        key: randomness of the samplers that have some; the others ignore it.
        on_step: called on the host with the number of steps done, for a progress bar. Calls may come late: wait for
            `jax.effects_barrier()` before closing the bar.

    Returns:
        The clean array, `[b, *shape]`, and the aux of the last step.

    Raises:
        ValueError: if the sampler is random and there is no key.
    """
    return _run(denoise, sampler, x_T, key, on_step, keep=False)[0]


def sample_trajectory(
    denoise: Denoise,
    sampler: Sampler,
    x_T: Float[Array, "b *shape"],  # noqa: N803 (the field's name)
    key: PRNGKeyArray | None = None,
    *,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Prediction, Float[Array, "steps b *shape"]]:
    """Does what `sample` does, and returns the clean array as predicted at every step too: what a video would show."""
    return _run(denoise, sampler, x_T, key, on_step, keep=True)


def initial_state(
    denoise: Denoise,
    sampler: Sampler,
    x_T: Float[Array, "b *shape"],  # noqa: N803 (the field's name)
) -> SamplerState:
    """Returns the state ahead of the first step, without running the denoiser."""
    shapes = jax.eval_shape(lambda x: _predict(denoise, sampler, 0, x), x_T)
    return SamplerState(x_T, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))


def sampler_step(
    denoise: Denoise,
    sampler: Sampler,
    index: Int[Array, ""] | int,
    state: SamplerState,
    noise: Float[Array, "b *shape"] | None = None,
) -> SamplerState:
    """Takes step `index` of a sampler, for callers with a loop or a source of noise of their own.

    Args:
        denoise: is given x and training timesteps.
        sampler: the steps.
        index: 0 is the noisiest step.
        state: from the step before.
        noise: standard normal, shaped like `state.x`; needed by samplers whose `noise` is not None.
    """
    x = state.x
    prediction = _predict(denoise, sampler, index, x)
    advanced = _pick(sampler.x, index, x) * x + _pick(sampler.x0, index, x) * prediction.x0
    if sampler.previous_x0 is not None:
        advanced += _pick(sampler.previous_x0, index, x) * state.prediction.x0
    if sampler.noise is not None:
        if noise is None:
            raise ValueError("this sampler adds noise at every step: give a key (or noise)")
        advanced += _pick(sampler.noise, index, x) * noise
    return SamplerState(advanced, prediction)


def _run(
    denoise: Denoise,
    sampler: Sampler,
    x_T: Array,  # noqa: N803
    key: PRNGKeyArray | None,
    on_step: Callable[[int], None] | None,
    keep: bool,
) -> tuple[Prediction, PyTree]:
    """Runs all steps, keeping the prediction of every one if asked to."""

    def advance(state: SamplerState, index: Array) -> tuple[SamplerState, Array | None]:
        noise = None
        if sampler.noise is not None and key is not None:
            noise = jax.random.normal(jax.random.fold_in(key, index), x_T.shape, x_T.dtype)
        state = sampler_step(denoise, sampler, index, state, noise)
        if on_step is not None:
            # The value of x is passed along so that the call cannot be made before the step is done.
            jax.debug.callback(lambda done, _: on_step(int(done)), index + 1, state.x[(0,) * state.x.ndim])
        return state, state.prediction.x0 if keep else None

    steps = jnp.arange(sampler.timesteps.shape[0])
    state, kept = jax.lax.scan(advance, initial_state(denoise, sampler, x_T), steps)
    return state.prediction, kept


def _predict(denoise: Denoise, sampler: Sampler, index: Array | int, x: Array) -> Prediction:
    """Calls the denoiser at a step, with strongly typed arrays of the loop's dtype out, as a scan's carry must be."""
    t = jnp.full(x.shape[:1], jnp.asarray(sampler.timesteps, jnp.int32)[index])
    x0, aux = denoise(x, t)
    return Prediction(x0.astype(x.dtype), jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), aux))


def _pick(column: Array | np.ndarray, index: Array | int, like: Array) -> Array:
    """Returns one coefficient in the dtype of `like`, as a scalar."""
    return jnp.asarray(column, like.dtype)[index]
