"""The loop from noise to a clean array, whatever the sampler and whatever the array means.

There is one law of noise. Every sample has a key of its own, which is split in two: the first half draws the start, the
second, folded with the index of a step, the noise of that step. So what is drawn for a sample depends on neither the
batch it is in nor how many steps are taken at once.

`sample` is a `lax.scan` over all steps and differentiable in reverse. `take_steps` goes from a step to a step, both of
them numbers that a compiled program may be given, and `padded` gives all samplers tables of one shape: together one
program for any sampler and any number of steps, to be called once, or once a step by a caller who watches.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, Num, PyTree

from diffgs_jax.diffusion.predictions import Prediction
from diffgs_jax.diffusion.samplers import Sampler

Denoise = Callable[[Float[Array, "b *shape"], Num[Array, "b"]], Prediction]
"""From a noisy array and its timesteps, as told to a network and in the dtype of the sampler's table (int32, or float32
for flow matching), to a prediction of the clean array; differentiable like any function."""

_ROWS = 64  # `padded` tables have a multiple of this


class SamplerState(NamedTuple):
    """What one step of a sampler hands to the next.

    Attributes:
        x: `[b, *shape]` the noisy array.
        prediction: the denoiser's at the step before; zeros ahead of the first.
    """

    x: Float[Array, "b *shape"]
    prediction: Prediction


def first_noise(
    keys: Key[Array, "b"], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
) -> Float[Array, "b *shape"]:
    """Draws the standard normal array that sampling starts with.

    Args:
        keys: one for each sample.
        shape: of one sample.
        dtype: of the result.
    """
    return jax.vmap(lambda key: jax.random.normal(jax.random.split(key)[0], shape, dtype))(keys)


def step_noise(
    keys: Key[Array, "b"], index: Int[Array, ""] | int, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
) -> Float[Array, "b *shape"]:
    """Draws the standard normal array that a step puts back.

    Args:
        keys: one for each sample.
        index: of the step; 0 is the noisiest.
        shape: of one sample.
        dtype: of the result.
    """

    def draw(key: Key[Array, ""]) -> Array:
        return jax.random.normal(jax.random.fold_in(jax.random.split(key)[1], index), shape, dtype)

    return jax.vmap(draw)(keys)


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
        denoise: is given x and timesteps.
        sampler: the steps.
        index: 0 is the noisiest step.
        state: from the step before.
        noise: standard normal, shaped like `state.x`; needed by samplers whose `noise` is not None.

    Raises:
        ValueError: if the sampler is random and there is no noise.
    """
    x, prediction = state.x, _predict(denoise, sampler, index, state.x)
    if sampler.sigma_excess is not None:
        x0 = prediction.x0 + _pick(sampler.sigma_excess, index, x) * (prediction.x0 - x)
        prediction = prediction._replace(x0=x0)
    advanced = _pick(sampler.x, index, x) * x + _pick(sampler.x0, index, x) * prediction.x0
    if sampler.previous_x0 is not None:
        advanced += _pick(sampler.previous_x0, index, x) * state.prediction.x0
    if sampler.noise is not None:
        if noise is None:
            raise ValueError("this sampler adds noise at every step: give keys (or noise)")
        advanced += _pick(sampler.noise, index, x) * noise
    if sampler.clipped is not None:
        advanced += _pick(sampler.clipped, index, x) * (jnp.clip(prediction.x0, -1.0, 1.0) - prediction.x0)
    return SamplerState(advanced, prediction)


def take_steps(
    denoise: Denoise,
    sampler: Sampler,
    keys: Key[Array, "b"] | None,
    state: SamplerState,
    start: Int[Array, ""] | int,
    stop: Int[Array, ""] | int,
) -> SamplerState:
    """Takes the steps from `start` up to, not including, `stop`.

    Both may be values that a compiled program is given, so one program serves any number of steps. Differentiable in
    reverse only where both are known when it is compiled.

    Args:
        denoise: is given x and timesteps.
        sampler: the steps.
        keys: one for each sample; None for samplers that add no noise.
        state: ahead of step `start`.
        start: 0 is the noisiest step.
        stop: at most the number of steps.
    """
    return jax.lax.fori_loop(start, stop, lambda index, state: _advance(denoise, sampler, keys, index, state), state)


def padded(sampler: Sampler) -> Sampler:
    """Returns a sampler that does the same, with a table of the shape that all have.

    It has a multiple of 64 rows, those past the sampler's own never to be reached, and all columns, with zeros for
    those that are left out. A program that is given it needs keys, for it draws noise for deterministic samplers too.

    Returns:
        Columns of float32; timesteps in the dtype they had.
    """
    steps = len(sampler.timesteps)
    rows = -(-steps // _ROWS) * _ROWS

    def column(values: Array | np.ndarray | None) -> np.ndarray:
        return np.pad(np.zeros(steps) if values is None else np.asarray(values), (0, rows - steps))

    factors = {name: column(getattr(sampler, name)).astype(np.float32) for name in Sampler._fields[1:-1]}
    return Sampler(column(sampler.timesteps), start=np.asarray(sampler.start, np.float32), **factors)


def sample(
    denoise: Denoise,
    sampler: Sampler,
    keys: Key[Array, "b"] | None,
    start: tuple[int, ...] | Float[Array, "b *shape"],
    *,
    on_step: Callable[[int], None] | None = None,
) -> Prediction:
    """Takes all steps and returns the clean array that they lead to.

    Meant to be called inside `jax.jit`, with the denoiser's parameters as arguments of the jitted function; the
    denoiser is compiled once. Reverse-mode differentiable.

    Args:
        denoise: is given x and timesteps, the same for every sample.
        sampler: the steps to take.
        keys: one for each sample; None for samplers that add no noise, if there is a start.
        start: the shape of one sample, to start from noise drawn by its key; or the noisy array to start from, whose
            dtype is the loop's.
        on_step: called on the host with the number of steps done, for a progress bar. Calls may come late: wait for
            `jax.effects_barrier()` before closing the bar.

    Returns:
        x after the last step, `[b, *shape]`, which is the last prediction unless a quirk makes the sampler end
        elsewhere, and the aux of that prediction.

    Raises:
        ValueError: if noise is needed and there are no keys.
    """
    return _run(denoise, sampler, keys, start, on_step, keep=False)[0]


def sample_trajectory(
    denoise: Denoise,
    sampler: Sampler,
    keys: Key[Array, "b"] | None,
    start: tuple[int, ...] | Float[Array, "b *shape"],
    *,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Prediction, Float[Array, "steps b *shape"]]:
    """Does what `sample` does, and returns the clean array as predicted at every step too: what a video would show."""
    return _run(denoise, sampler, keys, start, on_step, keep=True)


def _run(
    denoise: Denoise,
    sampler: Sampler,
    keys: Array | None,
    start: tuple[int, ...] | Array,
    on_step: Callable[[int], None] | None,
    keep: bool,
) -> tuple[Prediction, PyTree]:
    """Runs all steps, keeping the prediction of every one if asked to."""
    if isinstance(start, tuple):
        if keys is None:
            raise ValueError("a start from noise needs keys, one for each sample")
        x = first_noise(keys, start)
        start = jnp.asarray(sampler.start, x.dtype) * x

    def advance(state: SamplerState, index: Array) -> tuple[SamplerState, Array | None]:
        state = _advance(denoise, sampler, keys, index, state)
        if on_step is not None:
            # The value of x is passed along so that the call cannot be made before the step is done.
            jax.debug.callback(lambda done, _: on_step(int(done)), index + 1, state.x[(0,) * state.x.ndim])
        return state, state.prediction.x0 if keep else None

    steps = jnp.arange(sampler.timesteps.shape[0])
    state, kept = jax.lax.scan(advance, initial_state(denoise, sampler, start), steps)
    return Prediction(state.x, state.prediction.aux), kept


def _advance(
    denoise: Denoise, sampler: Sampler, keys: Array | None, index: Array | int, state: SamplerState
) -> SamplerState:
    """Takes one step with the noise that its keys draw."""
    noise = None
    if sampler.noise is not None and keys is not None:
        noise = step_noise(keys, index, state.x.shape[1:], state.x.dtype)
    return sampler_step(denoise, sampler, index, state, noise)


def _predict(denoise: Denoise, sampler: Sampler, index: Array | int, x: Array) -> Prediction:
    """Calls the denoiser at a step, with strongly typed arrays of the loop's dtype out, as a scan's carry must be."""
    dtype = jnp.int32 if jnp.issubdtype(sampler.timesteps.dtype, jnp.integer) else jnp.float32
    t = jnp.full(x.shape[:1], jnp.asarray(sampler.timesteps, dtype)[index])
    x0, aux = denoise(x, t)
    return Prediction(x0.astype(x.dtype), jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), aux))


def _pick(column: Array | np.ndarray, index: Array | int, like: Array) -> Array:
    """Returns one coefficient in the dtype of `like`, as a scalar."""
    return jnp.asarray(column, like.dtype)[index]
