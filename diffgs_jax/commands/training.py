"""The training loop: from wherever a run folder stands to the last step.

Killed at any moment and started again with the same settings, it continues from the newest checkpoint, with the same
batches and the same random numbers as if nothing had happened.
"""

import functools
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
from tqdm import tqdm

from diffgs_jax import training
from diffgs_jax.checkpoints import latest_step, load_weights, open_checkpoints, read_metadata, restore_checkpoint
from diffgs_jax.commands.progress import ticking
from diffgs_jax.commands.run_folder import claimed, write_settings
from diffgs_jax.config import TrainConfig, to_dict
from diffgs_jax.data import TrainingBatches, device_batches, has_records, training_batches
from diffgs_jax.errors import UserError
from diffgs_jax.files import arrays_sha256
from diffgs_jax.models import Cost, Frozen, Generates, StartsFromFrozen, TrainsPartly, family
from diffgs_jax.models.contributions import faint_line
from diffgs_jax.models.stored import stored_models
from diffgs_jax.rasterizer import check_backend, describe_backend

_FIRST_CHECKPOINT = 45.0  # seconds


def train(config: TrainConfig, on_start: Callable[[], object] = lambda: None) -> training.TrainState:
    """Trains from wherever the run folder stands to `config.run.steps`.

    Args:
        config: the whole run.
        on_start: called when all is read, before the progress bar of the steps is drawn.

    Raises:
        UserError: if the run folder cannot be written or belongs to a run with other settings, or the settings do not
            fit the machine.
        DataError: if the data cannot be read, or the loss is not finite.
        SystemExit: with `training.EXIT_CODE`, after saving, if the run was asked to stop (SIGTERM, Ctrl-C, SIGHUP).
    """
    # The other processes first: nothing may touch a device before they have found each other
    training.join_cluster(config.cluster)
    mesh = training.make_mesh(config.mesh)
    check_batch(config, mesh.size)
    needs = family(config.model).requirements(config.model)
    check_backend(needs.backend)
    with jax.set_mesh(mesh):
        # What is read before anything is written: a run without data leaves nothing behind
        source = training_batches(
            config.data,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            requirements=needs,
        )
        frozen = family(config.model).load_frozen(config.model, "training")
        folder = pathlib.Path(config.run.folder)
        if not training.is_main():
            return run(config, mesh, source, frozen, on_start)
        with claimed(folder):
            write_settings(folder, config)
            return run(config, mesh, source, frozen, on_start)


def run(
    config: TrainConfig,
    mesh: jax.sharding.Mesh,
    source: TrainingBatches,
    frozen: Frozen,
    on_start: Callable[[], object] = lambda: None,
) -> training.TrainState:
    """Does what `train` says, on a mesh that is in context, in a run folder that no other process writes."""
    folder = pathlib.Path(config.run.folder)
    saved = folder / "checkpoints"
    uids = [uid for store in source.sources.stores for uid in store.uids]
    batches = device_batches(source, sharding=training.batch_sharding(mesh))
    fingerprints = {name: arrays_sha256(weights) for name, weights in frozen.items()}
    if source.latents is not None:
        source.latents.check_makers(
            {name: arrays_sha256(model.params) for name, model in stored_models(frozen).items()}
        )
    frozen = jax.device_put(frozen, training.state_shardings(frozen, mesh))

    # Model and optimizer
    module = family(config.model)
    is_trained = functools.partial(module.is_trained, config.model) if isinstance(module, TrainsPartly) else None
    optimizer = training.make_optimizer(config.optimizer, config.run.steps, module.is_hidden_matrix, is_trained)

    def initial() -> training.TrainState:
        return training.init_state(module.init(config.model, jax.random.key(config.run.seed)), optimizer)

    shapes = jax.eval_shape(initial)
    shardings = training.state_shardings(shapes, mesh)
    counters = {"samples": 0, "seconds": 0.0}
    if latest_step(saved) is not None:  # where the run stands
        like = training.state_to_parts(training.place(shapes, shardings))
        parts, metadata = restore_checkpoint(saved, like)
        state = training.state_from_parts(parts)
        batches.set_state(metadata["data"])
        counters = metadata["counters"]
    elif config.run.init_from:
        new = jax.jit(initial)().params if config.run.init_partly else None
        weights = load_weights(config.run.init_from, shapes.params, new)
        state = jax.device_put(training.init_state(weights, optimizer), shardings)
        counters = read_metadata(config.run.init_from).get("counters", counters)
    elif isinstance(module, StartsFromFrozen):
        weights = module.first_params(config.model, jax.jit(initial)().params, frozen)
        # Copied: what the optimizer moves is its own, and frozen weights stay where they are
        weights = jax.tree.map(jax.numpy.copy, weights)
        state = jax.device_put(training.init_state(weights, optimizer), shardings)
    else:
        state = jax.jit(initial, out_shardings=shardings)()
    start = int(state.step)

    # The step, and what is looked at on the way
    loss = functools.partial(module.loss, config.model)
    step_function = training.make_train_step(loss, optimizer, config.optimizer, config.run.seed, mesh)
    program = None
    cost = module.cost(config.model, config.data)
    draw_preview = score = None
    if config.run.preview_every and isinstance(module, Generates):
        draw_preview = training.make_preview(config.model, config.data, config.run)
    if config.run.evaluate_every:
        from diffgs_jax.commands.run_scores import make_run_scorer  # few runs need all that scoring takes

        score = make_run_scorer(config, frozen)

    settings = to_dict(config)
    log = None
    if training.is_main():
        log = training.open_log(folder, start, wandb_project=config.run.wandb_project, config=settings)
    on_start()
    began = time.perf_counter()
    last_time, last_step, last_saved, trained_since = began, start, began, began
    seen: list[training.StepRecord] = []
    try:
        with (
            open_checkpoints(saved, keep=config.run.keep_checkpoints) as save,
            training.watch_preemption() as is_asked_to_stop,
            tqdm(initial=start, total=config.run.steps, unit="step", disable=not training.is_main()) as progress,
            ticking(progress),
        ):
            for step in range(start + 1, config.run.steps + 1):
                batch = next(batches)
                if program is None:
                    progress.set_description("compiling (first time only)")
                    compiling = time.perf_counter()
                    program = step_function.lower(state, frozen, batch).compile()
                    progress.unpause()  # the time left is not that of compiling
                    progress.set_description("training")
                    last_time = last_saved = trained_since = time.perf_counter()  # compiling is not part of the speed
                    progress.write(describe_run(config, cost, state, program, start))
                    progress.write(told(config, last_time - compiling))
                state, metrics = program(state, frozen, batch)
                seen.append(training.StepRecord(step, metrics, batch.record))
                progress.update()
                is_last = step == config.run.steps

                is_stopping = is_asked_to_stop(step)
                is_saving = is_last or is_stopping or step % config.run.checkpoint_every == 0
                is_saving |= _is_due(config, trained_since, last_saved)
                if is_saving or step % config.run.log_every == 0:
                    guarded = config.optimizer.spike_factor > 0
                    training.check_health(folder, seen, uids, guarded=guarded)
                    seen.clear()
                if log is not None and (is_last or step % config.run.log_every == 0):
                    now = time.perf_counter()
                    rate = (step - last_step) * config.data.batch_size / (now - last_time)
                    last_time, last_step = now, step
                    values = {name: float(value) for name, value in metrics.items()}
                    speeds = speed(cost, rate)
                    training.log_metrics(log, step, values | speeds)
                    share = speeds.get("model_flops_utilisation")
                    progress.set_postfix_str(
                        f"loss {values['loss']:.4f}, {rate:.1f} samples/s" + (f", {share:.0%} of peak" if share else "")
                    )

                if draw_preview is not None and (is_last or _is_preview(config, step)):
                    progress.set_description("drawing a preview (the first time takes longer)")
                    image, shares = draw_preview(state.ema, frozen)
                    progress.set_description("training")
                    if log is not None:
                        progress.write(f"preview: {training.log_image(log, step, 'test', image)}")
                        if shares:
                            training.log_metrics(log, step, shares)
                            if line := faint_line(shares["preview/denoised_weight_sampled"]):
                                progress.write(line)
                if score is not None and (is_last or step % config.run.evaluate_every == 0):
                    values = score(state.ema)
                    if log is not None:
                        training.log_metrics(log, step, values)

                if is_saving:
                    last_saved = time.perf_counter()
                    done = {
                        "samples": counters["samples"] + (step - start) * config.data.batch_size,
                        "seconds": counters["seconds"] + time.perf_counter() - began,
                    }
                    metadata = {"config": settings, "data": batches.get_state(), "counters": done}
                    save(step, training.state_to_parts(state), metadata | {"frozen": fingerprints})
                if is_stopping and not is_last:
                    break
    finally:
        if log is not None:
            training.close_log(log)
        batches.close()
    if int(state.step) < config.run.steps:
        if training.is_main():
            print(f"asked to stop: step {int(state.step)} is saved in {saved}; the same command goes on")
        raise SystemExit(training.EXIT_CODE)
    return state


def _is_due(config: TrainConfig, trained_since: float, last_saved: float) -> bool:
    """Tells whether a checkpoint is due by the clock, which several processes would not read alike."""
    now = time.perf_counter()
    limit = min(config.run.checkpoint_seconds or math.inf, max(_FIRST_CHECKPOINT, (now - trained_since) / 4))
    return bool(config.run.checkpoint_seconds) and jax.process_count() == 1 and now - last_saved > limit


def _is_preview(config: TrainConfig, step: int) -> bool:
    """Tells whether a preview is due: every so many steps, and a first one soon."""
    every = config.run.preview_every
    return step % every == 0 or step == every // 10


def told(config: TrainConfig, compiled: float) -> str:
    """Returns what a newcomer asks next: how long compiling took, where to look, and what is not held out.

    Args:
        config: of the run.
        compiled: seconds.
    """
    held_out = "" if has_records(config.data, "test") else "no objects are held out: previews show training objects\n"
    return (
        f"{held_out}compiled in {compiled:.0f} s; previews, metrics and checkpoints come into {config.run.folder}; "
        f"for curves: pip install tensorboard && tensorboard --logdir {config.run.folder}"
    )


def check_batch(config: TrainConfig, devices: int) -> None:
    """Refuses a batch that does not divide.

    Raises:
        UserError: if it does not.
    """
    parts = config.optimizer.accumulate
    if parts < 1 or config.data.batch_size % (parts * devices):
        raise UserError(
            f"data.batch_size = {config.data.batch_size} does not divide among {devices} devices and "
            f"optimizer.accumulate = {parts} parts: make it a multiple of {max(parts, 1) * devices}"
        )


def describe_run(config: TrainConfig, cost: Cost, state: training.TrainState, program: Any, start: int) -> str:
    """Returns what a run is, before its first step: sizes, operations, memory, devices."""
    flops = 3 * cost.forward_flops * config.data.batch_size
    counts = " and ".join(f"{number} {name}" for name, number in cost.counts.items())
    planned = training.program_bytes(program)
    working = "" if planned is None else f" and {planned / 1e6:.0f} MB to work in (planned)"
    needs = family(config.model).requirements(config.model)
    rendering = f"{describe_backend(needs.backend)}; " if needs.makes == "gaussians" else ""
    mesh = " × ".join(str(size) for size in jax.sharding.get_abstract_mesh().axis_sizes)
    return (
        f"{config.run.folder}: {cost.parameters / 1e6:.1f} M parameters; a sample is {counts}; "
        f"{flops / 1e9:.0f} GFLOP a step of {config.data.batch_size} samples, rendering not counted\n"
        f"{jax.device_count()} × {jax.devices()[0].device_kind} as data × fsdp = {mesh}; per device "
        f"{training.state_bytes(state) / 1e6:.0f} MB of weights, average and optimizer{working}; "
        f"{rendering}steps {start} to {config.run.steps}"
    )


def speed(cost: Cost, rate: float) -> dict[str, float]:
    """Returns samples a second, and the share of the devices' peak where that is known."""
    share = training.model_flops_utilisation(cost.forward_flops, rate)
    return {"samples_per_second": rate} | ({} if share is None else {"model_flops_utilisation": share})
