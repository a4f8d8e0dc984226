"""Scores the trained checkpoint on the held-out objects, and the bundled one beside it."""

import dataclasses
import json
import pathlib
import time

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from diffgs_jax.evaluate import EvaluateOptions, evaluate
from diffgs_jax.rasterizer import Backend
from gpu_check_steps.reporting import report


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What is scored."""

    run: pathlib.Path
    """Folder of the trained run."""
    data: pathlib.Path
    """Record store with a test split."""
    work: pathlib.Path
    """Folder for tables and images."""
    backend: Backend = "xla"
    """Who renders."""
    max_objects: int = 26
    """Objects that are scored."""
    steps: int | None = None
    """Denoising steps; by default the model's."""
    bundled: bool = True
    """Score the bundled model too."""


def main(arguments: Arguments) -> None:
    """Scores both; the trained one first."""
    models = [("trained", arguments.run), ("bundled", None)]
    for name, checkpoint in models if arguments.bundled else models[:1]:
        began = time.monotonic()
        out = arguments.work / f"evaluation_{name}"
        evaluate(
            EvaluateOptions(
                checkpoint=checkpoint,
                data=arguments.data,
                out=out,
                max_objects=arguments.max_objects,
                steps=arguments.steps,
                backend=arguments.backend,
                lpips=False,
                one_step=False,
                swap=False,
                baselines=False,
            )
        )
        found = json.loads((out / "evaluation.json").read_text())
        report(model=name, seconds=round(time.monotonic() - began, 1), means=found.get("means"))


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
