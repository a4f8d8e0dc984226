"""Checkpoints: weights, their average, the optimizer, the step, the data position and the config, written atomically.

A checkpoint folder holds one folder a step. What sampling needs (the averaged weights and the config) is a part of its
own, so that it loads without the rest, and so that a published checkpoint may consist of it alone.
"""

import contextlib
import gc
import logging
import pathlib
import sys
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models import Params
from diffgs_jax.training.state import TrainState

Save = Callable[[TrainState, dict[str, Any]], None]
"""Saves a state with metadata: anything JSON can say, the config under `config`, the data position, counters."""


@contextlib.contextmanager
def open_checkpoints(folder: str | pathlib.Path, *, keep: int | None = None) -> Generator[Save, None, None]:
    """Gives a function that writes `folder/<step>`; the name appears only when the checkpoint is whole.

    It returns once the state is copied from the devices, and writes while training goes on. Whatever goes wrong is
    raised at the next save or at the end. Every process of a run calls it; each writes its own part.

    Args:
        folder: holds all the checkpoints of a run.
        keep: newest checkpoints to keep; all by default.

    Raises:
        UserError: if the folder cannot be written; older checkpoints are whole then.
    """
    with _writing(folder), _without_pages_of_logs(), _checkpointer(folder, keep) as checkpointer:
        underway: list[Any] = []

        def finish() -> None:
            while underway:
                underway.pop().result()

        def save(state: TrainState, metadata: dict[str, Any]) -> None:
            parts = {
                "ema": state.ema,
                "state": {"step": state.step, "params": state.params, "opt_state": state.opt_state},
            }
            step = int(state.step)
            with _writing(folder):
                finish()
                underway.append(
                    checkpointer.save_checkpointables_async(step, parts, custom_metadata=metadata, force=True)
                )

        try:
            yield save
        finally:
            finish()


def save_weights(
    folder: str | pathlib.Path, step: int, weights: Params, metadata: dict[str, Any], *, compress: bool = True
) -> None:
    """Writes a checkpoint that can be sampled from and trained on from, but not resumed: the weights alone.

    Args:
        folder: to be created.
        step: its name in there.
        weights: of any types.
        metadata: anything JSON can say, the config under `config`.
        compress: makes the file a tenth smaller, and takes four times as long.
    """
    context = ocp.Context()
    context.array.saving.use_compression = compress
    with context, _writing(folder), _checkpointer(folder, None) as checkpointer:
        checkpointer.save_checkpointables(step, {"ema": weights}, custom_metadata=metadata, force=True)


def _checkpointer(folder: str | pathlib.Path, keep: int | None) -> ocp.training.Checkpointer:
    policies = ocp.training.preservation_policies
    policy = policies.PreserveAll() if keep is None else policies.LatestN(keep)
    return ocp.training.Checkpointer(
        str(pathlib.Path(folder).absolute()),
        preservation_policy=policy,  # ty: ignore[invalid-argument-type]  (orbax's own policies miss its protocol)
        cleanup_tmp_directories=True,
    )


@contextlib.contextmanager
def _without_pages_of_logs() -> Generator[None, None, None]:
    """Silences what orbax's threads log of an error that is raised and said in one line anyway.

    They go on logging after it was raised, until the program ends; so only a good end gives them their voice back.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@contextlib.contextmanager
def _writing(folder: str | pathlib.Path) -> Generator[None, None, None]:
    """Says in one line that a folder cannot be written: orbax raises what its writer of the moment raised."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write a checkpoint to {folder}: {error.strerror or error}") from error
    except (ValueError, RuntimeError) as error:
        reason = next((text for text in _FULL if text.lower() in str(error).lower()), None)
        if reason is None:
            raise
        hint = "the newest checkpoint there is whole; make room and start again"
        raise UserError(f"cannot write a checkpoint to {folder}: {reason}; {hint}") from error


_FULL = (
    "No space left on device",
    "File too large",
    "Disk quota exceeded",
    "Permission denied",
    "Read-only file system",
)


def latest_step(folder: str | pathlib.Path) -> int | None:
    """Returns the newest whole checkpoint's step, or None if there is none."""
    steps = [int(child.name) for child in pathlib.Path(folder).glob("*") if child.is_dir() and child.name.isdigit()]
    return max(steps, default=None)


def restore_checkpoint(folder: str | pathlib.Path, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """Loads the newest checkpoint of a run.

    Args:
        folder: as given to `open_checkpoints`.
        like: a state of the same shapes, its values unused. Arrays are loaded to where its leaves are, whatever the
            devices were that saved them.

    Returns:
        The state, and the metadata it was saved with.

    Raises:
        UserError: if there is none.
        DataError: if it belongs to another architecture or cannot be read.
    """
    path = _checkpoint_path(folder)
    abstract = jax.tree.map(lambda leaf: _abstract(leaf.shape, leaf.dtype, leaf.sharding), like)
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


def load_weights(folder: str | pathlib.Path, like: Params, new: Params | None = None) -> Params:
    """Loads the averaged weights of the newest checkpoint as float32.

    Args:
        folder: a run's `checkpoints` folder, or a published checkpoint.
        like: weights of the expected shapes (`jax.eval_shape` of the family's `init` will do).
        new: weights of those shapes, from which those are taken that the checkpoint lacks; None if it must have all.

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it belongs to another architecture or cannot be read.
    """
    path = _checkpoint_path(folder)
    stored = _check_shapes(path, "ema", like, all_there=new is None)
    abstract = jax.tree.map(lambda leaf: _abstract(leaf.shape, leaf.dtype), stored)
    with _reading(path):
        weights = ocp.load_checkpointables(str(path), {"ema": abstract})["ema"]
    weights = _by_name(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), weights))
    others = like if new is None else new
    return jax.tree_util.tree_map_with_path(lambda key, leaf: weights.get(jax.tree_util.keystr(key), leaf), others)


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


def _by_name(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _check_shapes(path: pathlib.Path, part: str, like: Params, *, all_there: bool = True) -> Any:
    """Returns what is stored, without values, or says in one line in what it differs from `like`."""
    with _reading(path):
        tree = ocp.checkpointables_metadata(str(path)).metadata[part]
        if not tree:  # orbax only logs what it could not read
            raise ValueError(f"it lists no arrays of {part}")
    stored, wanted = _by_name(tree), _by_name(like)
    differences = [f"{name} is missing" for name in wanted.keys() - stored.keys() if all_there]
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
    return tree


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


def _abstract(shape: tuple[int, ...], dtype: Any, sharding: Any = None) -> jax.ShapeDtypeStruct:
    # A stated sharding: left out, it would be read from the file, which names the devices the checkpoint was saved on.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding or here)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
