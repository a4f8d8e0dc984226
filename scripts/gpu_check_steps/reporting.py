"""What a step measures, as lines that its parent collects: written at once, so that nothing is lost if it dies."""

import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

VARIABLE = "GPU_CHECK_RESULTS"
"""Environment variable with the file that a step's measurements are appended to."""


def report(**values: Any) -> None:
    """Appends a line of JSON with these values, and prints it.

    Args:
        values: anything JSON can say.
    """
    line = json.dumps(values, default=float)
    print(line, flush=True)
    path = os.environ.get(VARIABLE)
    if path:
        with pathlib.Path(path).open("a") as file:
            file.write(line + "\n")


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines that a step reported; a last one that was cut off is left out.

    Args:
        path: the file, which need not exist.
    """
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def timed(run: Callable[[], Any], *, seconds: float, least: int = 3, most: int = 20) -> list[float]:
    """Returns how long each of some runs took, seconds, after one that does not count.

    Args:
        run: waits until its work is done.
        seconds: no run begins later than this, once there are `least`.
        least: number of runs.
        most: number of runs.
    """
    run()
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < least or (time.perf_counter() - began < seconds and len(taken) < most):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken
