"""Has our rasterizer and the peers that are installed take turns at the trained-like workload."""

import dataclasses
import json
import pathlib

import bench_rasterizer

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from diffgs_jax.rasterizer import Backend
from gpu_check_steps.reporting import report


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What is timed."""

    backend: Backend
    """Who renders for us."""
    work: pathlib.Path
    """Folder for the benchmark's file."""


def main(arguments: Arguments) -> None:
    """Measures."""
    file = arguments.work / "peers.jsonl"
    options = bench_rasterizer.Options(
        workload="pixel_aligned", scenes=4, views=8, backend=arguments.backend, rounds=9, out=file
    )
    bench_rasterizer.main(options)
    report(**json.loads(file.read_text().splitlines()[-1]))


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
