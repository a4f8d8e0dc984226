"""An optimization that can be killed and goes on, with a progress bar, previews and a state saved on the way."""

import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from diffgs_jax import optimization, training
from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.files import arrays_sha256, make_folder, unfinished_folder
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import write_image

_STATE = "state.npz"


class OptimizedSplat(NamedTuple):
    """What an optimization came to.

    Attributes:
        gaussians: `[m]`, numpy.
        slots: all slots, used or not, whose number is the capacity: what compiled programs render.
        seconds: of all its runs.
        processor_seconds: the same as the processor counts them.
        full_at: the step at which all slots were used; None if that never was.
    """

    gaussians: Gaussians
    slots: Gaussians
    seconds: float
    processor_seconds: float
    full_at: int | None


@runtime_checkable
class RunOptions(Protocol):
    """What every optimizing command can be asked for."""

    @property
    def out(self) -> pathlib.Path:
        """Folder for what is made."""
        ...

    @property
    def preview_every(self) -> int:
        """Steps between previews; 0: none."""
        ...

    @property
    def save_seconds(self) -> float:
        """Seconds between savings of the state."""
        ...


def run_resumably(
    options: RunOptions,
    config: optimization.OptimizationConfig,
    state: optimization.FitState,
    settings: dict[str, Any],
    go_on: Callable[[optimization.FitState, int], Iterator[optimization.Fitting]],
    draw: Callable[[Gaussians], Float[np.ndarray, "height width 3"]],
    doing: str,
    then: Callable[[OptimizedSplat], None] = lambda done: None,
) -> OptimizedSplat:
    """Goes from the start, or from where the same work was saved last, to the end.

    Args:
        options: of the command.
        config: how Gaussians are moved.
        state: the first one.
        settings: all that the result depends on beside the first state, as JSON can say it.
        go_on: from a state, pausing as often as it is told.
        draw: a preview of all slots.
        doing: a word for the progress bar.
        then: what is done with the splat before what was saved goes: killed there, the work begins with the splat.

    Raises:
        UserError: if the folder cannot be written.
        DataError: if what was saved or the loss is not finite or damaged.
        SystemExit: with code 75, after saving, if the process was asked to stop.
    """
    make_folder(options.out)
    unfinished = unfinished_folder(options.out, settings | {"start": arrays_sha256(state.parameters)})
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
        for now in go_on(state, options.preview_every or config.steps):
            state = now.state
            bar.set_description(doing, refresh=False)
            bar.update(now.step - done)
            done = now.step
            bar.set_postfix_str(f"loss {now.loss:.4f}, {now.count} Gaussians")
            if full_at is None and now.count == config.capacity and config.growth != "none":
                full_at = now.step
                bar.write(f"all {config.capacity} Gaussians are in use at step {now.step}; --capacity allows more")
            if options.preview_every and now.step % options.preview_every == 0:
                seen = optimization.to_gaussians(now.state.parameters, now.state.is_used)
                write_image(make_folder(options.out / "previews") / f"step_{now.step:06d}.png", draw(seen))
            is_stopping = is_asked_to_stop(now.step) and now.step < config.steps
            if is_stopping or time.perf_counter() - saved > options.save_seconds:
                optimization.write_state(unfinished / _STATE, state, spent() | {"full_at": full_at})
                saved = time.perf_counter()
            if is_stopping:
                raise SystemExit(training.EXIT_CODE)
        slots = optimization.to_gaussians(state.parameters, state.is_used)
        gaussians = optimization.used_gaussians(state.parameters, state.is_used)
        optimization.write_state(unfinished / _STATE, state, spent() | {"full_at": full_at})
    done_splat = OptimizedSplat(gaussians, slots, **spent(), full_at=full_at)
    then(done_splat)
    shutil.rmtree(unfinished, ignore_errors=True)
    return done_splat
