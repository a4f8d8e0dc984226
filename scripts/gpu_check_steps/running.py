"""Runs steps one after the other, each a process with a limit of its own, and writes a line of JSON after each."""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from gpu_check_steps.reporting import VARIABLE, read

Facts = dict[str, list[dict[str, Any]]]
"""What the steps before have reported, by their names."""

_GRACE = 20.0  # seconds between the request to stop, at which a training saves, and the end
_TAIL = 1500  # characters of a failed step's output that its line carries


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of the check."""

    name: str
    """What its line is called."""
    share: float
    """Of the whole time, what it may take; more where earlier steps needed less. Together they are 1."""
    command: Callable[[Facts, float], Sequence[str] | str]
    """From what is known and its limit in seconds: the words to run, or why it is left out."""
    takes_the_rest: bool = False
    """It may take all the time that no later step needs."""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Variables of its own."""


def run_steps(steps: Sequence[Step], out: pathlib.Path, work: pathlib.Path, budget: float) -> list[dict[str, Any]]:
    """Runs all steps, whatever becomes of those before, and returns their lines.

    Args:
        steps: in order.
        out: folder of `results.jsonl` and `log.txt`.
        work: folder for what need not be kept.
        budget: seconds for all of them together.
    """
    ends = time.monotonic() + budget
    facts: Facts = {}
    machine: dict[str, Any] = {}
    lines = []
    for number, step in enumerate(steps):
        left = ends - time.monotonic()
        later = sum(other.share for other in steps[number + 1 :])
        # What earlier steps did not need is divided among the others, or falls to the one that takes the rest.
        limit = left - later * budget if step.takes_the_rest else left * step.share / (step.share + later)
        if limit < 0.5:
            line: dict[str, Any] = {"step": step.name, "status": "skipped", "why": "no time is left"}
        else:
            line = run_step(step, facts, limit, out / "log.txt", work / f"{step.name}.jsonl")
        facts[step.name] = line.get("results", [])
        if step.name == "environment":
            machine = {key: value for found in facts[step.name] for key, value in found.items()}
        line |= {"limit_seconds": round(limit, 1)} | machine
        line["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with (out / "results.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(f"{step.name}: {line['status']}, {line.get('seconds', 0)} s {line.get('why', '')}".rstrip(), flush=True)
        lines.append(line)
    return lines


def run_step(step: Step, facts: Facts, limit: float, log: pathlib.Path, results: pathlib.Path) -> dict[str, Any]:
    """Runs one step and returns its line.

    Args:
        step: what to run.
        facts: what the steps before have reported.
        limit: seconds that it may take.
        log: file that its output is appended to.
        results: file that it reports to.
    """
    line: dict[str, Any] = {"step": step.name, "status": "failed"}
    began = time.monotonic()
    try:
        command = step.command(facts, limit)
        if isinstance(command, str):
            return line | {"status": "skipped", "why": command}
        with log.open("a") as output:
            output.write(f"\n=== {step.name}: {' '.join(command)}\n")
            output.flush()
            place = output.tell()
            variables = {**os.environ, **step.environment, VARIABLE: str(results), "PYTHONUNBUFFERED": "1"}
            status, code = _wait(
                subprocess.Popen(
                    command, stdout=output, stderr=subprocess.STDOUT, env=variables, start_new_session=True
                ),
                limit,
            )
        line |= {"status": status, "returncode": code}
        if status != "ok":
            with log.open("rb") as output:
                output.seek(place)
                line["tail"] = output.read().decode(errors="replace")[-_TAIL:]
    except Exception as error:  # a step that cannot even be started must not keep the others back
        line["tail"] = f"{type(error).__name__}: {error}"
    return line | {"seconds": round(time.monotonic() - began, 1), "results": read(results)}


def _wait(process: subprocess.Popen, limit: float) -> tuple[Literal["ok", "failed", "out of time"], int | None]:
    """Waits for a process; at its limit, asks it to stop, and a while later ends it and all that it started."""
    try:
        code = process.wait(limit)
        return ("ok" if code == 0 else "failed"), code
    except subprocess.TimeoutExpired:
        pass
    for number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # children that outlived it
    return "out of time", process.poll()
