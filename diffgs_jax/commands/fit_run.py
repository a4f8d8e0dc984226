"""A fit that can be killed and goes on, with a progress bar, previews and a state that is saved on the way."""

import dataclasses
import pathlib
import shutil
import time
from typing import Any

from diffgs_jax import optimization, training
from diffgs_jax.commands.fit_inputs import FitInputs
from diffgs_jax.commands.fit_options import FitOptions
from diffgs_jax.commands.fit_outputs import FittedSplat, draw_views
from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.files import arrays_sha256, make_folder, unfinished_folder
from diffgs_jax.interop import read_gaussians, write_image

_STATE = "state.npz"


def fit_resumably(options: FitOptions, inputs: FitInputs) -> FittedSplat:
    """Fits from the start, or from where the same fit was saved last.

    Raises:
        UserError: if the folder cannot be written, or the splat to start from has more Gaussians than the capacity.
        DataError: if the splat to start from, what was saved or the loss is not finite or damaged.
        SystemExit: with code 75, after saving, if the process was asked to stop.
    """
    config = options.config
    make_folder(options.out)
    state = _first_state(options, inputs)
    settings = {"config": dataclasses.asdict(config), "images": inputs.sha256, "held_out": inputs.held_out_views}
    settings["start"] = arrays_sha256(state.parameters)
    unfinished = unfinished_folder(options.out, settings)
    about: dict[str, Any] = {"seconds": 0.0, "processor_seconds": 0.0, "full_at": None}
    if (unfinished / _STATE).exists():
        state, about = optimization.read_state(unfinished / _STATE, state)
    began, worked, saved = time.perf_counter(), time.process_time(), time.perf_counter()
    before, full_at = about, about["full_at"]

    def spent() -> dict[str, float]:
        return {
            "seconds": before["seconds"] + time.perf_counter() - began,
            "processor_seconds": before["processor_seconds"] + time.process_time() - worked,
        }

    with (
        training.watch_preemption() as is_asked_to_stop,
        progress_bar("compiling (first time only)", config.steps) as bar,
    ):
        done = int(state.step)
        bar.update(done)
        for now in optimization.fit(inputs.fitted, state, config, pause_every=options.preview_every or config.steps):
            state = now.state
            bar.set_description("fitting", refresh=False)
            bar.update(now.step - done)
            done = now.step
            bar.set_postfix_str(f"loss {now.loss:.4f}, {now.count} Gaussians")
            if full_at is None and now.count == config.capacity and config.growth != "none":
                full_at = now.step
                bar.write(f"all {config.capacity} Gaussians are in use at step {now.step}; --capacity allows more")
            if options.preview_every and now.step % options.preview_every == 0:
                _write_preview(options.out, now, inputs)
            is_stopping = is_asked_to_stop(now.step) and now.step < config.steps
            if is_stopping or time.perf_counter() - saved > options.save_seconds:
                optimization.write_state(unfinished / _STATE, state, spent() | {"full_at": full_at})
                saved = time.perf_counter()
            if is_stopping:
                raise SystemExit(training.EXIT_CODE)
        slots = optimization.to_gaussians(state.parameters, state.is_used)
        gaussians = optimization.used_gaussians(state.parameters, state.is_used)
    shutil.rmtree(unfinished, ignore_errors=True)
    return FittedSplat(gaussians, slots, **spent(), full_at=full_at)


def _first_state(options: FitOptions, inputs: FitInputs) -> optimization.FitState:
    if options.start_splat is None:
        gaussians, name = optimization.initial_gaussians(inputs.fitted, options.config), "the start"
    else:
        gaussians, name = read_gaussians(options.start_splat), str(options.start_splat)
    slots = optimization.from_gaussians(gaussians, options.capacity, options.sh_degree, name)
    return optimization.initial_state(*slots)


def _write_preview(out: pathlib.Path, now: optimization.Fitting, inputs: FitInputs) -> None:
    folder = make_folder(out / "previews")
    gaussians = optimization.to_gaussians(now.state.parameters, now.state.is_used)
    write_image(folder / f"step_{now.step:06d}.png", draw_views(gaussians, inputs, most=4))
