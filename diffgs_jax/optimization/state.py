"""Where a fit stands, in memory and as a file."""

import json
import os
import zipfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int32

from diffgs_jax.errors import DataError
from diffgs_jax.files import json_object, open_regular, parse_json, shown
from diffgs_jax.files.atomic import written_beside
from diffgs_jax.optimization.parameters import Parameters

_ABOUT = "about"


class Pulls(NamedTuple):
    """How hard Gaussians have been pulled across images since the last change of their set.

    Attributes:
        total: `[n]` sum over the images they were in of the length of the loss's gradient by their place there; a
            image is 2 wide.
        images: `[n]` in how many images they were.
    """

    total: Float[Array, "n"]
    images: Float[Array, "n"]


class FitState(NamedTuple):
    """All that a fit needs to go on. Random numbers follow from the seed and the step.

    Attributes:
        step: steps done.
        parameters: `[n]` slots.
        is_used: `[n]`.
        moments: Adam's.
        pulls: `[n]`.
        adapters: what is trained beside the Gaussians, any tree of arrays; nothing in a fit.
    """

    step: Int32[Array, ""]
    parameters: Parameters
    is_used: Bool[Array, "n"]
    moments: optax.ScaleByAdamState
    pulls: Pulls
    adapters: Any = ()


def adam() -> optax.GradientTransformation:
    """Returns Adam without its rates, as 3DGS configures it."""
    return optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-15)


def initial_state(parameters: Parameters, is_used: Bool[Array, "n"], adapters: Any = ()) -> FitState:
    """Returns the state before the first step."""
    zeros = jnp.zeros(len(parameters.logits), jnp.float32)
    moments: Any = adam().init(parameters)
    return FitState(jnp.zeros((), jnp.int32), parameters, is_used, moments, Pulls(zeros, zeros), adapters)


def with_slots(
    state: FitState, index: Int32[Array, "m"], values: Parameters, is_used: bool | Bool[Array, "m"]
) -> FitState:
    """Writes Gaussians into slots, at rest: Adam's moments are zero there.

    Args:
        state: before.
        index: the slots; numbers past the last slot write nothing.
        values: `[m]`.
        is_used: whether the slots count from now on.
    """

    def write(leaf: Array, value: Array | float) -> Array:
        return leaf.at[index].set(value, mode="drop")

    def at_rest(moment: Any) -> Any:
        return jax.tree.map(lambda leaf: write(leaf, 0.0), moment)

    moments = state.moments._replace(mu=at_rest(state.moments.mu), nu=at_rest(state.moments.nu))
    return state._replace(
        parameters=jax.tree.map(write, state.parameters, values),
        is_used=state.is_used.at[index].set(is_used, mode="drop"),
        moments=moments,
    )


def write_state(path: str | os.PathLike[str], state: FitState, about: dict[str, Any]) -> None:
    """Writes a state, whole or not at all.

    Args:
        path: a `.npz` file.
        state: what is written.
        about: what it belongs to, as JSON can say it.

    Raises:
        UserError: if the file cannot be written.
    """
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(state).items()}
    with written_beside(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays, **{_ABOUT: np.asarray(json.dumps(about))})


def read_state(path: str | os.PathLike[str], like: FitState) -> tuple[FitState, dict[str, Any]]:
    """Returns a state that `write_state` wrote, and what it belongs to.

    Args:
        path: the file.
        like: a state of the same shapes.

    Raises:
        UserError: if the file cannot be read.
        DataError: if it is damaged, or of other shapes.
    """
    name = shown(path)
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as stored:
            about = json_object(parse_json(str(stored[_ABOUT]), name), name)
            arrays = {key: stored[key] for key in _named(like)}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{name} is damaged ({error}); delete it to start anew") from None
    for key, leaf in _named(like).items():
        if arrays[key].shape != leaf.shape or arrays[key].dtype != leaf.dtype:
            raise DataError(f"{name} holds a fit of other settings ({key}); delete it to start anew")
    leaves = [jnp.asarray(arrays[key]) for key in _named(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), about


def _named(state: FitState) -> dict[str, Any]:
    return {jax.tree_util.keystr(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(state)}
