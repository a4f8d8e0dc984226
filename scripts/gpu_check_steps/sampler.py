"""Times a 30-step sample of a published architecture with random weights."""

import dataclasses
import pathlib
import statistics
import time
from typing import Any

import jax
import numpy as np

from diffgs_jax import models
from diffgs_jax.config import load_config
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from diffgs_jax.geometry import condition_camera
from diffgs_jax.inference import InputOptions, Pipeline, PosedImages, SamplingOptions
from diffgs_jax.rasterizer import Backend
from gpu_check_steps.reporting import report, timed


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What is timed."""

    config: pathlib.Path
    """File of the model."""
    backend: Backend = "xla"
    """Who renders."""
    steps: int = 30
    """Denoising steps."""
    seconds: float = 5.0
    """For the rounds."""
    dry: bool = False
    """A network of two layers at 16²."""


def main(arguments: Arguments) -> None:
    """Measures the compilation and then the runs."""
    tiny = ["--model.network.width", "32", "--model.network.layers", "2", "--model.network.heads", "2"]
    tiny += ["--data.resolution", "16"]
    config = load_config(arguments.config, ["--model.backend", arguments.backend, *(tiny if arguments.dry else [])])
    params = jax.jit(lambda key: models.family(config.model).init(config.model, key))(jax.random.key(0))
    pipeline = Pipeline(config, params)
    sampling = SamplingOptions(steps=arguments.steps)
    size = config.data.resolution
    given = PosedImages(np.random.default_rng(0).random((1, size, size, 3), np.float32), condition_camera(config.rig))
    request = pipeline.request(given, InputOptions(), sampling)

    def run() -> Any:
        *_, last = pipeline.generate(request, [0], sampling)
        return jax.block_until_ready(last.generated)

    began = time.perf_counter()
    run()
    first = time.perf_counter() - began
    report(config=arguments.config.stem, resolution=size, steps=arguments.steps, first_seconds=round(first, 2))
    taken = timed(run, seconds=arguments.seconds)
    report(
        config=arguments.config.stem,
        resolution=size,
        steps=arguments.steps,
        backend=arguments.backend,
        seconds=round(statistics.median(taken), 4),
        least_seconds=round(min(taken), 4),
    )


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
