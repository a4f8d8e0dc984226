"""Reads checkpoints back, onto whatever devices there are, after comparing them with their digests."""

import contextlib
import gc
import logging
import pathlib
import sys
from collections.abc import Collection, Generator
from typing import Any

import jax
import jax.numpy as jnp

from diffgs_jax.checkpoints.digests import damaged, verify_digests
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import load_json

_METADATA = "_CHECKPOINT_METADATA"
_LARGEST_METADATA = 64 << 20  # bytes


def latest_step(folder: str | pathlib.Path) -> int | None:
    """Returns the newest whole checkpoint's step, or None if there is none."""
    steps = [int(child.name) for child in pathlib.Path(folder).glob("*") if child.name.isdecimal() and child.is_dir()]
    return max(steps, default=None)


def restore_checkpoint(folder: str | pathlib.Path, like: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Loads the newest checkpoint of a run.

    Every process of a run calls it, on one file system; each checks a portion of the files against their digests.

    Args:
        folder: as given to `open_checkpoints`.
        like: parts of the same shapes as those that were saved, their values unused. Arrays are loaded to where its
            leaves are, whatever the devices were that saved them.

    Returns:
        The parts, and the metadata they were saved with.

    Raises:
        UserError: if there is none.
        DataError: if it belongs to another architecture, is damaged or cannot be read.
    """
    path = _checkpoint_path(folder)
    _verify(path, like, share=(jax.process_index(), jax.process_count()))
    abstract = jax.tree.map(lambda leaf: _abstract(leaf.shape, leaf.dtype, leaf.sharding), like)
    _check_shapes(path, "ema", abstract["ema"])
    with _reading(path) as ocp:
        parts = ocp.load_checkpointables(str(path), abstract)
    return dict(parts), read_metadata(folder)


def read_metadata(folder: str | pathlib.Path) -> dict[str, Any]:
    """Returns what the newest checkpoint was saved with besides arrays, its config among it.

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it is damaged or cannot be read.
    """
    path = _checkpoint_path(folder)
    verify_digests(path, ())
    file = path / _METADATA
    try:
        # Not by orbax, which reads files of all parts for it
        stored = load_json(file, limit=_LARGEST_METADATA, unreadable=DataError) if file.exists() else None
    except (OSError, DataError) as error:
        raise damaged(path, f"{_METADATA}: {_first_line(error)}") from error
    metadata = stored.get("custom_metadata") if isinstance(stored, dict) else None
    if not isinstance(metadata, dict) or "config" not in metadata:
        raise DataError(f"checkpoint {path} carries no config: it is damaged or was not written by diffgs_jax")
    return metadata


def load_weights(folder: str | pathlib.Path, like: dict[str, Any], new: dict[str, Any] | None = None) -> dict[str, Any]:
    """Loads the averaged weights of the newest checkpoint as float32.

    Args:
        folder: a run's `checkpoints` folder, or a published checkpoint.
        like: weights of the expected shapes (`jax.eval_shape` of the family's `init` will do).
        new: weights of those shapes, from which those are taken that the checkpoint lacks; None if it must have all.

    Raises:
        UserError: if there is no checkpoint.
        DataError: if it belongs to another architecture, is damaged or cannot be read.
    """
    path = _checkpoint_path(folder)
    _verify(path, ("ema",))
    stored = _check_shapes(path, "ema", like, all_there=new is None)
    abstract = jax.tree.map(lambda leaf: _abstract(leaf.shape, leaf.dtype), stored)
    with _reading(path) as ocp:
        weights = ocp.load_checkpointables(str(path), {"ema": abstract})["ema"]
    weights = _by_name(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), weights))
    others = like if new is None else new
    return jax.tree_util.tree_map_with_path(lambda key, leaf: weights.get(jax.tree_util.keystr(key), leaf), others)


def _checkpoint_path(folder: str | pathlib.Path) -> pathlib.Path:
    folder = pathlib.Path(folder).absolute()
    try:
        if not folder.exists():
            raise UserError(f"there is no checkpoint folder {folder}")
        if latest_step(folder) is None and (folder / "checkpoints").is_dir():
            folder = folder / "checkpoints"  # a run folder is as good a name for its checkpoints
        step = latest_step(folder)
    except OSError as error:  # no permission, a name that is too long
        raise UserError(f"cannot read the checkpoint folder {folder}: {error.strerror or error}") from error
    if step is None:
        raise UserError(f"{folder} holds no checkpoint")
    return folder / str(step)


def _verify(path: pathlib.Path, parts: Collection[str], share: tuple[int, int] = (0, 1)) -> None:
    """Raises a `DataError` if the files of these parts are damaged; says on stderr if nothing can tell."""
    if not verify_digests(path, parts, share=share) and jax.process_index() == 0:
        print(f"note: checkpoint {path} carries no digests; damage to it would go unnoticed", file=sys.stderr)


def _by_name(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _check_shapes(path: pathlib.Path, part: str, like: dict[str, Any], *, all_there: bool = True) -> Any:
    """Returns what is stored, without values, or says in one line in what it differs from `like`."""
    with _reading(path) as ocp:
        tree = ocp.metadata(str(path), part).metadata
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
def _reading(path: pathlib.Path) -> Generator[Any, None, None]:
    """Yields orbax; says in one line that a checkpoint is damaged, where it logs pages and its coroutines more."""
    from orbax.checkpoint import v1 as ocp  # here, because it takes long to import

    loggers, hook = [logging.getLogger(name) for name in ("absl", "asyncio")], sys.unraisablehook
    levels, problem = [logger.level for logger in loggers], None
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    try:
        yield ocp
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
        raise damaged(path, problem)


def _abstract(shape: tuple[int, ...], dtype: Any, sharding: Any = None) -> jax.ShapeDtypeStruct:
    # A stated sharding: left out, it would be read from the file, which names the devices the checkpoint was saved on.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding or here)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
