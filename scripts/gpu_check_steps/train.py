"""Trains a model for as long as there is time: a few steps to see how fast they are, then the rest.

The second run is as long as its time allows, so that its learning rate comes to its end. LPIPS is AlexNet's, if its
weights are in the cache; VGG16's 59 MB do not travel.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import time

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.models.losses import load_lpips
from diffgs_jax.rasterizer import Backend
from gpu_check_steps.reporting import report

_RESERVE = 0.25  # of the time for steps: compiling again, the checkpoint, a machine that slows down


@dataclasses.dataclass(frozen=True)
class Arguments:
    """How to train."""

    seconds: float
    """For everything."""
    work: pathlib.Path
    """Folder for the runs; the trained one has the name `run` in it."""
    data: pathlib.Path
    """Record store."""
    config: pathlib.Path = pathlib.Path("configs/diffusion_gs/finetune_64.py")
    """File of the experiment."""
    run: str = "run"
    """Name of the trained run's folder."""
    backend: Backend = "xla"
    """Who renders."""
    batch_size: int = 32
    """Samples in a step."""
    resolution: int = 64
    """Height and width of the views, pixels."""
    probe_steps: int = 30
    """Steps to see how fast they are."""
    most_steps: int = 20_000
    """Of the run, however much time there is."""


def main(arguments: Arguments) -> None:
    """Trains twice.

    Raises:
        UserError: if a run fails, or nothing is left of the time after the first.
    """
    began = time.monotonic()
    try:
        load_lpips("alex")
        perceptual = ["--model.losses.perceptual-network", "alex"]
    except (UserError, DataError):
        perceptual = ["--model.losses.perceptual", "0"]
    shared = ["--model.backend", arguments.backend, "--data.path", str(arguments.data), *perceptual]
    shared += ["--data.batch-size", str(arguments.batch_size), "--data.resolution", str(arguments.resolution)]
    shared += ["--run.preview-every", "0"]

    probe = arguments.work / f"probe_{arguments.run}"
    steps = arguments.probe_steps
    train(arguments.config, probe, steps, ["--run.log-every", str(max(1, steps // 2)), *shared])
    first = time.monotonic() - began
    rate = last_metrics(probe)["samples_per_second"] / arguments.batch_size
    overhead = max(0.0, first - steps / rate)
    left = arguments.seconds - first - overhead
    steps = min(arguments.most_steps, int((1.0 - _RESERVE) * left * rate))
    report(
        what="probe",
        config=arguments.config.stem,
        samples_per_second=rate * arguments.batch_size,
        overhead_seconds=round(overhead, 1),
        steps=steps,
    )
    if steps < 1:
        raise UserError(f"no time for a step after {first:.0f} s of the first run")

    run = arguments.work / arguments.run
    train(arguments.config, run, steps, ["--run.log-every", str(max(1, steps // 50)), *shared])
    metrics = last_metrics(run)
    report(
        what="training",
        config=arguments.config.stem,
        backend=arguments.backend,
        steps=steps,
        batch=arguments.batch_size,
        perceptual=perceptual[-1],
        samples_per_second=metrics["samples_per_second"],
        loss=metrics["loss"],
        seconds=round(time.monotonic() - began, 1),
    )


def train(config: pathlib.Path, folder: pathlib.Path, steps: int, options: list[str]) -> None:
    """Runs the training command; a process of its own, because it keeps the device's memory.

    Raises:
        UserError: if it fails.
    """
    command = [sys.executable, "-m", "diffgs_jax.train", "--config", str(config), "--run.folder", str(folder)]
    code = subprocess.run([*command, "--run.steps", str(steps), *options]).returncode
    if code:
        raise UserError(f"the training of {steps} steps ended with code {code}")


def last_metrics(folder: pathlib.Path) -> dict[str, float]:
    """Returns the last line of a run's `metrics.jsonl`."""
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
