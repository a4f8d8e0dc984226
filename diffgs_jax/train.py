"""Trains a model: `python -m diffgs_jax.train --config configs/quickstart.py [--section.field value …]`.

The run folder collects the settings (`config.json`), `metrics.jsonl`, a TensorBoard file, sample grids and checkpoints.
Killed at any moment and started again with the same command, it continues from the newest checkpoint, with the same
batches and the same random numbers as if nothing had happened. `--help` after `--config FILE` lists every setting.
"""

import dataclasses
import functools
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from types import ModuleType

import jax
import numpy as np
from tqdm import tqdm

from diffgs_jax import models, training
from diffgs_jax.config import TrainConfig, flatten, from_dict, load_config, to_dict
from diffgs_jax.data import training_batches
from diffgs_jax.errors import DataError, UserError, report_errors


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with report_errors():
        if len(arguments) < 2 or arguments[0] != "--config":
            raise UserError("usage: python -m diffgs_jax.train --config FILE [--section.field value …]")
        train(load_config(arguments[1], arguments[2:]))


def train(config: TrainConfig) -> training.TrainState:
    """Trains from wherever the run folder stands to `config.run.steps`.

    Args:
        config: the whole run.

    Raises:
        UserError: if the run folder cannot be written or belongs to a run with other settings.
        DataError: if the data cannot be read, or the loss is not finite.
    """
    # The data, first: a run without data leaves nothing behind
    batches = training_batches(config.data)

    # The run folder
    folder = pathlib.Path(config.run.folder)
    prepare_folder(folder, config)
    checkpoints = folder / "checkpoints"

    # Model and optimizer
    module = models.family(config.model)
    params = module.init(config.model, jax.random.key(config.run.seed))
    optimizer = training.make_optimizer(config.optimizer, config.run.steps)
    counters = {"samples": 0, "seconds": 0.0}
    if config.run.init_from and training.latest_step(checkpoints) is None:
        params = training.load_weights(config.run.init_from, params)
        counters = training.read_metadata(config.run.init_from).get("counters", counters)
    state = training.init_state(params, optimizer)

    # Where the run stands
    if training.latest_step(checkpoints) is not None:
        state, metadata = training.restore_checkpoint(checkpoints, state)
        batches.set_state(metadata["data"])
        counters = metadata["counters"]
    start = int(state.step)

    # The step
    loss = functools.partial(module.loss, config.model)
    step_function = training.make_train_step(loss, optimizer, config.optimizer, config.run.seed)
    frozen: dict = {}
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(f"{folder}: {size / 1e6:.1f} M parameters, steps {start} to {config.run.steps}, {jax.devices()[0].platform}")
    draw_grid = make_grid(config, module)

    log = training.open_log(folder, start)
    began = time.perf_counter()
    last_time, last_step = began, start
    try:
        for step in tqdm(range(start + 1, config.run.steps + 1), initial=start, total=config.run.steps, unit="step"):
            state, metrics = step_function(state, frozen, next(batches))

            if step % config.run.log_every == 0 or step == config.run.steps:
                values = {name: float(value) for name, value in metrics.items()}
                now = time.perf_counter()
                rate = (step - last_step) * config.data.batch_size / (now - last_time)
                last_time, last_step = now, step
                training.log_metrics(log, step, values | {"samples_per_second": rate})
                if not all(np.isfinite(list(values.values()))):
                    raise DataError(f"the loss is not finite at step {step}: {values}; the last checkpoint is kept")

            if config.run.grid_every and (step % config.run.grid_every == 0 or step == config.run.steps):
                training.log_image(log, step, "test", draw_grid(state.ema))

            if step % config.run.checkpoint_every == 0 or step == config.run.steps:
                done = {
                    "samples": counters["samples"] + (step - start) * config.data.batch_size,
                    "seconds": counters["seconds"] + time.perf_counter() - began,
                }
                metadata = {"config": to_dict(config), "data": batches.get_state(), "counters": done}
                training.save_checkpoint(checkpoints, state, metadata, keep=config.run.keep_checkpoints)
    finally:
        training.close_log(log)
    return state


def make_grid(config: TrainConfig, module: ModuleType) -> Callable[[training.Params], np.ndarray]:
    """Returns the function from weights to a picture of samples: always the same test objects and noise."""
    denoiser = functools.partial(module.denoiser, config.model)
    sampler = training.make_grid_sampler(
        denoiser, config.model.diffusion.schedule, config.run.grid_sampler_steps, config.model.background
    )
    data = dataclasses.replace(config.data, batch_size=config.run.grid_objects)

    def draw(weights: training.Params) -> np.ndarray:
        batch = next(training_batches(data, split="test"))
        return training.tile_images(np.asarray(sampler(weights, batch, jax.random.key(0))))

    return draw


def prepare_folder(folder: pathlib.Path, config: TrainConfig) -> None:
    """Creates the run folder and writes `config.json`, or checks that the folder's run has the same settings.

    The length of the run and what it writes may change between two starts; what decides the losses may not.

    Raises:
        UserError: if the folder cannot be written, or names the first setting that differs.
        DataError: if the folder's `config.json` is damaged.
    """
    path = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and training.latest_step(folder / "checkpoints") is not None:
            try:
                fields = json.loads(path.read_text())
            except ValueError as error:
                hint = "delete it to go on with the settings given now"
                raise DataError(f"{path} is damaged ({error}); {hint}") from error
            _refuse_changes(folder, to_dict(from_dict(fields, str(path))), to_dict(config))
        beside = path.with_suffix(".json.partial")
        beside.write_text(json.dumps(to_dict(config), indent=2))
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"cannot write to the run folder {folder}: {error.strerror}") from error


# What may differ between two starts of one run: it changes what is written or how fast, not what is learned.
_MAY_CHANGE = {
    *(f"run.{name}" for name in ("folder", "steps", "init_from", "checkpoint_every", "keep_checkpoints", "log_every")),
    *(f"run.{name}" for name in ("grid_every", "grid_objects", "grid_sampler_steps")),
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


if __name__ == "__main__":
    main()
