"""Checkpoints: weights, their average, the optimizer, the step, the data position and the config, written atomically.

A checkpoint folder holds one folder a step. What sampling needs (the averaged weights and the config) is a part of its
own, so that it loads without the rest, and so that a published checkpoint may consist of it alone.
"""

import contextlib
import gc
import logging
import pathlib
import sys
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.training.state import Params, TrainState


def save_checkpoint(
    folder: str | pathlib.Path, state: TrainState, metadata: dict[str, Any], *, keep: int | None = None
) -> None:
    """Writes `folder/<step>`; the name appears only when the checkpoint is whole.

    Args:
        folder: holds all the checkpoints of a run.
        state: what to save.
        metadata: anything JSON can say: the config under `config`, the data position, counters.
        keep: newest checkpoints to keep; all by default.

    Raises:
        UserError: if the folder cannot be written.
    """
    parts = {
        "ema": state.ema,
        "state": {"step": state.step, "params": state.params, "opt_state": state.opt_state},
    }
    _write(folder, int(state.step), parts, metadata, keep)


def save_weights(folder: str | pathlib.Path, step: int, weights: Params, metadata: dict[str, Any]) -> None:
    """Writes a checkpoint that can be sampled from and trained on from, but not resumed: the weights alone."""
    _write(folder, step, {"ema": weights}, metadata, None)


def _write(
    folder: str | pathlib.Path, step: int, parts: dict[str, Any], metadata: dict[str, Any], keep: int | None
) -> None:
    policies = ocp.training.preservation_policies
    policy = policies.PreserveAll() if keep is None else policies.LatestN(keep)
    try:
        with ocp.training.Checkpointer(
            str(pathlib.Path(folder).absolute()),
            preservation_policy=policy,  # ty: ignore[invalid-argument-type]  (orbax's own policies miss its protocol)
            cleanup_tmp_directories=True,
        ) as checkpointer:
            checkpointer.save_checkpointables(step, parts, custom_metadata=metadata, force=True)
    except OSError as error:
        raise UserError(f"cannot write checkpoint {step} to {folder}: {error.strerror or error}") from error


def latest_step(folder: str | pathlib.Path) -> int | None:
    """Returns the newest whole checkpoint's step, or None if there is none."""
    steps = [int(child.name) for child in pathlib.Path(folder).glob("*") if child.is_dir() and child.name.isdigit()]
    return max(steps, default=None)


def restore_checkpoint(folder: str | pathlib.Path, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """Loads the newest checkpoint of a run.

    Args:
        folder: as given to `save_checkpoint`.
        like: a state of the same shapes, its values unused.

    Returns:
        The state, and the metadata it was saved with.

    Raises:
        UserError: if there is none.
        DataError: if it belongs to another architecture or cannot be read.
    """
    path = _checkpoint_path(folder)
    abstract = jax.tree.map(lambda leaf: _abstract(leaf.shape, leaf.dtype), like)
    parts = {
        "ema": abstract.ema,
        "state": {"step": abstract.step, "params": abstract.params, "opt_state": abstract.opt_state},
    }
    _check_shapes(path, "ema", abstract.ema)
    with _reading(path):
        loaded = ocp.load_checkpointables(str(path), parts)
    state = loaded["state"]
    return TrainState(state["step"], state["params"], loaded["ema"], state["opt_state"]), read_metadata(folder)


def read_metadata(folder: str | pathlib.Path) -> dict[str, Any]:
    """Returns what the newest checkpoint was saved with besides arrays, its config among it.

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it cannot be read.
    """
    path = _checkpoint_path(folder)
    with _reading(path):
        metadata = ocp.checkpointables_metadata(str(path)).custom_metadata
    if not isinstance(metadata, dict) or "config" not in metadata:
        raise DataError(f"checkpoint {path} carries no config: it is damaged or was not written by diffgs_jax")
    return metadata


def load_weights(folder: str | pathlib.Path, like: Params) -> Params:
    """Loads the averaged weights of the newest checkpoint as float32.

    Args:
        folder: a run's `checkpoints` folder, or a published checkpoint.
        like: weights of the expected shapes (`jax.eval_shape` of the family's `init` will do).

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it belongs to another architecture or cannot be read.
    """
    path = _checkpoint_path(folder)
    stored = _check_shapes(path, "ema", like)
    abstract = jax.tree.map(lambda leaf, dtype: _abstract(leaf.shape, dtype), like, stored)
    with _reading(path):
        weights = ocp.load_checkpointables(str(path), {"ema": abstract})["ema"]
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), weights)


def _checkpoint_path(folder: str | pathlib.Path) -> pathlib.Path:
    folder = pathlib.Path(folder).absolute()
    if not folder.exists():
        raise UserError(f"there is no checkpoint folder {folder}")
    if latest_step(folder) is None and (folder / "checkpoints").is_dir():
        folder = folder / "checkpoints"  # a run folder is as good a name for its checkpoints
    step = latest_step(folder)
    if step is None:
        raise UserError(f"{folder} holds no checkpoint")
    return folder / str(step)


def _check_shapes(path: pathlib.Path, part: str, like: Params) -> Any:
    """Returns the stored dtypes, or says in one line in what the stored tree differs from `like`."""
    with _reading(path):
        tree = ocp.checkpointables_metadata(str(path)).metadata[part]
        if not tree:  # orbax only logs what it could not read
            raise ValueError(f"it lists no arrays of {part}")
    stored = {jax.tree_util.keystr(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    wanted = {jax.tree_util.keystr(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(like)}
    differences = [f"{name} is missing" for name in wanted.keys() - stored.keys()]
    differences += [f"{name} is unknown" for name in stored.keys() - wanted.keys()]
    differences += [
        f"{name} is {tuple(stored[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted.keys() & stored.keys()
        if tuple(stored[name].shape) != tuple(wanted[name].shape)
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise DataError(
            f"checkpoint {path} belongs to another architecture: {'; '.join(sorted(differences)[:3])}{more}"
        )
    return jax.tree.map(lambda leaf: leaf.dtype, tree)


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Generator[None, None, None]:
    """Says in one line that a checkpoint is damaged, where orbax logs pages and its abandoned coroutines more."""
    loggers, hook = [logging.getLogger(name) for name in ("absl", "asyncio")], sys.unraisablehook
    levels, problem = [logger.level for logger in loggers], None
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    try:
        yield
    except Exception as error:  # orbax raises whatever its reader of the moment raised, bare `Exception` among it
        # A KeyError is orbax at a loss which reader to take, and lists them all.
        problem = "its arrays cannot be read" if isinstance(error, KeyError) else _first_line(error)
    finally:
        if problem is not None:
            gc.collect()  # the coroutines complain when they are collected
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        sys.unraisablehook = hook
    if problem is not None:
        raise DataError(f"checkpoint {path} is damaged ({problem}); delete it or name another")


def _abstract(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    # A stated sharding: left out, it would be read from the file, which names the devices the checkpoint was saved on.
    return jax.ShapeDtypeStruct(shape, dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
