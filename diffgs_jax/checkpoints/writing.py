"""Writes checkpoints, in the background and atomically, with the digests of their files."""

import concurrent.futures
import contextlib
import logging
import math
import pathlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from diffgs_jax.checkpoints.digests import write_digests
from diffgs_jax.errors import UserError
from diffgs_jax.files import write_text

if TYPE_CHECKING:  # it takes long to import
    from orbax.checkpoint import v1 as ocp

Save = Callable[[int, dict[str, Any], dict[str, Any]], None]
"""`save(step, parts, metadata)`: parts are trees of arrays by name, `ema` among them; metadata is anything JSON can
say, the config under `config`, the data position, counters."""


@contextlib.contextmanager
def open_checkpoints(folder: str | pathlib.Path, *, keep: int | None = None) -> Generator[Save, None, None]:
    """Gives a function that writes `folder/<step>`; the name appears only when the checkpoint is whole.

    It returns once the arrays are copied from the devices, and writes while training goes on. Whatever goes wrong is
    raised at the next save or at the end. Every process of a run calls it; each writes its own part. When all of them
    are done the main process adds the digests. A run that is killed just before has written a checkpoint without.

    Args:
        folder: holds all the checkpoints of a run.
        keep: newest checkpoints to keep; all by default.

    Raises:
        UserError: if the folder cannot be written; older checkpoints are whole then.
    """
    background = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
    with _writing(folder), _without_pages_of_logs(), _checkpointer(folder, keep) as checkpointer, background:
        underway: list[concurrent.futures.Future[None]] = []

        def finish() -> None:
            while underway:
                underway.pop().result()

        def save(step: int, parts: dict[str, Any], metadata: dict[str, Any]) -> None:
            with _writing(folder):
                finish()
                written = checkpointer.save_checkpointables_async(step, parts, custom_metadata=metadata, force=True)
                underway.append(background.submit(_complete, written, pathlib.Path(folder) / str(step)))

        try:
            yield save
        finally:
            finish()


def save_weights(
    folder: str | pathlib.Path, step: int, weights: dict[str, Any], metadata: dict[str, Any], *, compress: bool = True
) -> None:
    """Writes a checkpoint that can be sampled from and trained on from, but not resumed: the weights alone.

    Args:
        folder: to be created.
        step: its name in there.
        weights: a tree of arrays of any types.
        metadata: anything JSON can say, the config under `config`.
        compress: makes the file a tenth smaller, and takes four times as long.

    Raises:
        UserError: if the folder cannot be written.
    """
    from orbax.checkpoint import v1 as ocp

    context = ocp.Context()
    context.array.saving.use_compression = compress
    with context, _writing(folder), _checkpointer(folder, None) as checkpointer:
        checkpointer.save_checkpointables(step, {"ema": weights}, custom_metadata=metadata, force=True)
        _finish_published(pathlib.Path(folder) / str(step))


def save_streamed(
    folder: str | pathlib.Path,
    step: int,
    shapes: dict[str, Any],
    read: Callable[[tuple[str, ...]], np.ndarray],
    metadata: dict[str, Any],
) -> None:
    """Writes the same as `save_weights`, one array after another: there is memory for two of them, not for all.

    Args:
        folder: to be created.
        step: its name in there.
        shapes: nested dictionary with an object of every array's `shape`.
        read: makes the float32 array of a path, and is asked once for each.
        metadata: anything JSON can say, the config under `config`.

    Raises:
        UserError: if the folder cannot be written.
    """
    import orbax.checkpoint as ocp
    from orbax.checkpoint import type_handlers

    class OneByOne(type_handlers.NumpyHandler):
        async def _background_serialize(self, values: Any, infos: Any, args: Any = None) -> None:
            for value, info, arg in zip(values, infos, args, strict=True):
                await super()._background_serialize([read(value.path)], [info], [arg])

    def deferred(tree: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
        return {
            name: deferred(leaf, (*path, name)) if isinstance(leaf, dict) else _Deferred((*path, name), leaf.shape)
            for name, leaf in tree.items()
        }

    path = pathlib.Path(folder).absolute()
    with _writing(folder), _without_pages_of_logs():
        handler = ocp.PyTreeCheckpointHandler(
            use_compression=False,
            type_handler_registry=type_handlers.create_type_handler_registry(
                (_Deferred, OneByOne(deepcopy_host_arrays=False))
            ),
        )
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
        item = ocp.args.PyTreeSave(deferred(shapes))
        with ocp.CheckpointManager(path, item_handlers={"ema": handler}, options=options) as manager:
            manager.save(step, args=ocp.args.Composite(ema=item), custom_metadata=metadata, force=True)
            manager.wait_until_finished()
    _finish_published(path / str(step))


class _Deferred:
    """An array that is made when it is written; orbax asks for its size before."""

    def __init__(self, path: tuple[str, ...], shape: tuple[int, ...]) -> None:
        self.path, self.shape, self.dtype = path, tuple(shape), np.dtype(np.float32)
        self.ndim, self.size = len(shape), math.prod(shape)
        self.nbytes = self.size * self.dtype.itemsize


def _finish_published(checkpoint: pathlib.Path) -> None:
    """Takes this machine's paths out of the marks of a whole checkpoint, and adds the digests.

    That the marks are there is what counts; they name folders of this machine, and weights are passed on.
    """
    for mark in checkpoint.rglob("commit_success.txt"):
        write_text(mark, "Checkpoint commit was successful")
    write_digests(checkpoint)


def _complete(written: Any, checkpoint: pathlib.Path) -> None:
    """Waits until all processes have written their parts and the checkpoint has its name, then adds the digests."""
    written.result()
    if jax.process_index() == 0:
        write_digests(checkpoint)


def _checkpointer(folder: str | pathlib.Path, keep: int | None) -> "ocp.training.Checkpointer":
    from orbax.checkpoint import v1 as ocp

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
