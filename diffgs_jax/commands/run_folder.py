"""A run's folder: its settings, the refusal of others, and that only one training writes it at a time."""

import contextlib
import pathlib
from collections.abc import Generator

import filelock

from diffgs_jax import training
from diffgs_jax.checkpoints import latest_step
from diffgs_jax.config import TrainConfig, flatten, from_dict, to_dict
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import load_json, write_json


@contextlib.contextmanager
def claimed(folder: pathlib.Path) -> Generator[None, None, None]:
    """Creates the run folder, and keeps every other training out of it; a process that dies lets go of it.

    Raises:
        UserError: if the folder cannot be written, or another process is training in it.
    """
    lock = contextlib.nullcontext()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock").acquire(blocking=False)
    except filelock.Timeout:
        raise UserError(f"another process is training in {folder}: stop it or choose another --run.folder") from None
    except NotImplementedError:
        pass  # a network file system that cannot lock: several runs may then write into it
    except OSError as error:
        raise UserError(f"cannot write to the run folder {folder}: {error.strerror}") from error
    with lock:
        yield


def write_settings(folder: pathlib.Path, config: TrainConfig) -> None:
    """Writes `config.json` and the run's provenance, or checks that the folder's run has the same settings.

    The length of the run and what it writes may change between two starts; what decides the losses may not.

    Raises:
        UserError: if the folder cannot be written, or names the first setting that differs.
        DataError: if the folder's `config.json` is damaged.
    """
    path = folder / "config.json"
    try:
        if path.exists() and latest_step(folder / "checkpoints") is not None:
            try:
                fields = load_json(path)
            except DataError as error:
                hint = "delete it to go on with the settings given now"
                raise DataError(f"{path} is damaged ({error}); {hint}") from error
            _refuse_changes(folder, to_dict(from_dict(fields, str(path))), to_dict(config))
        write_json(path, to_dict(config))
        training.write_provenance(folder)
    except OSError as error:
        raise UserError(f"cannot write to the run folder {folder}: {error.strerror}") from error


# What may differ between two starts of one run: it changes what is written or how fast, not what is learned.
_MAY_CHANGE = {
    *(f"run.{name}" for name in ("folder", "steps", "init_from", "init_partly", "log_every")),
    *(f"run.{name}" for name in ("checkpoint_every", "checkpoint_seconds", "keep_checkpoints")),
    *(f"run.{name}" for name in ("preview_every", "preview_objects", "preview_steps")),
    *(f"run.{name}" for name in ("evaluate_every", "evaluate_objects", "wandb_project")),
    *("mesh.data", "mesh.fsdp", "model.backend"),
    *(f"cluster.{name}" for name in ("join", "coordinator", "processes", "process", "timeout_seconds")),
    *(f"data.{name}" for name in ("cache_gigabytes", "threads", "prefetch", "max_bad_records")),
}


def _refuse_changes(folder: pathlib.Path, stored: dict, wanted: dict) -> None:
    stored, wanted = flatten(stored), flatten(wanted)
    for name in wanted:
        if name not in _MAY_CHANGE and stored.get(name) != wanted[name]:
            raise UserError(
                f"{folder} holds a run with {name} = {stored.get(name)}, not {wanted[name]}: "
                "choose another --run.folder or the old setting"
            )
