"""From noise to Gaussians: the loop of a sampler as one compiled program, which can be watched and stopped.

The program takes the steps from `start` to `stop`, both of them numbers that it is given. So whoever only wants the
result calls it once, whoever wants to see a progress bar, keep what was predicted on the way, or stop early calls it
once a step, and both get the same numbers from the same machine code. It holds no call back into Python, which JAX
could not keep on disk. Tables are padded and have all columns, so it serves any number of steps of any sampler.
"""

import dataclasses
from collections.abc import Generator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax import models
from diffgs_jax.diffusion import Denoise, Prediction, Sampler, classifier_free_guidance, initial_state, sampler_step
from diffgs_jax.diffusion import SamplerState as State
from diffgs_jax.geometry import Views

_ROWS = 64  # tables are padded to a multiple of this


@dataclasses.dataclass(frozen=True)
class Network:
    """What is compiled: a model, and how it is run.

    Attributes:
        config: the model's settings.
        one_view_at_a_time: render predictions one after the other, which takes less memory.
    """

    config: models.ModelConfig
    one_view_at_a_time: bool = False


def denoise(
    network: Network,
    params: dict[str, Any],
    views: Views,
    table: Sampler,
    key: PRNGKeyArray,
    *,
    guidance: Float[np.ndarray, "1 v 1 1 1"] | None = None,
    stride: int | None = None,
) -> Generator[tuple[int, State], None, None]:
    """Yields (number of steps done, the sampler's state) while it goes from noise to the last prediction.

    Args:
        network: the model.
        params: its weights.
        views: `[1, v]`, images clean where `is_condition`; the others are not read.
        table: the steps.
        key: of the first noise, and of that of the samplers that add some.
        guidance: a scale for each view; None leaves the unconditional branch out.
        stride: steps between two yields; all of them by default, in one call of the program.
    """
    steps = len(table.timesteps)
    padded = _padded(table)
    # Put where the weights are, as what the program returns will be: or its second call would compile again.
    x = previous = jax.device_put(np.zeros(np.shape(views.images), np.float32), jax.tree.leaves(params)[0].sharding)
    stride = steps if stride is None else stride
    for start in range(0, steps, stride):
        stop = min(start + stride, steps)
        bounds = np.asarray([start, stop], np.int32)
        state = _advance(network, params, views, padded, key, guidance, x, previous, bounds)
        yield stop, state
        x, previous = state.x, state.prediction.x0


@partial(jax.jit, static_argnames="network")
def _advance(
    network: Network,
    params: dict[str, Any],
    views: Views,
    table: Sampler,
    key: PRNGKeyArray,
    guidance: Float[Array, "1 v 1 1 1"] | None,
    x: Float[Array, "1 v h w 3"],
    previous: Float[Array, "1 v h w 3"],
    bounds: Int32[Array, "2"],
) -> State:
    """Takes steps `bounds[0]` to `bounds[1]`; x and the prediction before them are read unless they are the first."""
    start_key, step_key = jax.random.split(key)
    x = jnp.where(bounds[0] == 0, jax.random.normal(start_key, x.shape, x.dtype), x)
    predict = _denoiser(network, params, views, guidance)
    begin = initial_state(predict, table, x)
    begin = begin._replace(prediction=Prediction(previous, begin.prediction.aux))

    def step(index: Array, state: State) -> State:
        noise = jax.random.normal(jax.random.fold_in(step_key, index), x.shape, x.dtype)
        return sampler_step(predict, table, index, state, noise)

    return jax.lax.fori_loop(bounds[0], bounds[1], step, begin)


def _denoiser(network: Network, params: dict[str, Any], views: Views, guidance: Array | None) -> Denoise:
    make = partial(
        models.family(network.config).denoiser,
        network.config,
        params,
        views,
        one_view_at_a_time=network.one_view_at_a_time,
    )
    return make() if guidance is None else classifier_free_guidance(make(), make(unconditional=True), guidance)


def _padded(table: Sampler) -> Sampler:
    """Returns a table with rows that are never reached, and with zeros for columns that are left out."""
    steps = len(table.timesteps)
    rows = -(-steps // _ROWS) * _ROWS

    def column(values: np.ndarray | None, dtype: type) -> np.ndarray:
        return np.pad(np.zeros(steps) if values is None else values, (0, rows - steps)).astype(dtype)

    timesteps, *factors = (None if values is None else np.asarray(values) for values in table)
    return Sampler(column(timesteps, np.int32), *(column(values, np.float32) for values in factors))
