"""Runs the commands of README.md and docs/ in this clone, small where they take long, and writes how long each took.

python scripts/time_commands.py --venv PATH_OF_AN_EMPTY_FOLDER

`scripts/documented_commands.toml` says for each command what is run in its place (`run`), or why nothing is (`skip`).
The result is docs/commands.md. What was run before is kept in `timed_commands.json` and not run again; `--only` names
parts of the commands that are to be run.
"""

import dataclasses
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import write_json

ROOT = pathlib.Path(__file__).parents[1]
PLAN = ROOT / "scripts" / "documented_commands.toml"
TABLE = ROOT / "docs" / "commands.md"
_STARTS = ("python ", "pip ", "srun ", "… ")
_HEAD = """# The commands of these pages, and how long they take

Written by `python scripts/time_commands.py` in a clone, with an environment made for it. Where a command takes long, a
small variant of it was run: few steps, few objects. The time is that of a first run: compiling is part of it. Where
seconds are many times the processor seconds, the machine did other things beside or waited for a download.

"""


class Command(NamedTuple):
    """A command as a page has it.

    Attributes:
        page: the page's path in the repository.
        text: without its comment, on one line.
    """

    page: str
    text: str


@dataclasses.dataclass(frozen=True)
class Options:
    """What to run."""

    venv: pathlib.Path | None = None
    """Where a new environment is made; by default the commands run in this one."""
    only: tuple[str, ...] = ()
    """Run only what contains one of these words."""
    results: pathlib.Path = pathlib.Path("timed_commands.json")
    """Times so far."""
    timeout: int = 1800
    """Seconds after which a command is ended."""
    write_only: bool = False
    """Write the table of the times so far, and run nothing."""


def documented_commands(root: pathlib.Path = ROOT) -> Iterator[Command]:
    """Yields the commands of README.md and docs/, each once, in the order in which they are met."""
    seen = set()
    history = root / "docs" / "training-log.md"  # the nine hours of the bundled model
    for path in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        fence, text = "", re.sub(r"\\\n\s*", "", path.read_text())
        for line in text.splitlines():
            if line.startswith("```"):
                fence = "" if fence else line[3:] or "text"
                continue
            is_command = fence == "bash" or (not fence and line.startswith("    "))
            words = re.sub(r"\s+#.*", "", line).strip()
            if path not in (TABLE, history) and is_command and words.startswith(_STARTS) and words not in seen:
                seen.add(words)
                yield Command(str(path.relative_to(root)), words)


def main(options: Options) -> None:
    """Runs the command line."""
    plan: dict[str, dict[str, str]] = tomllib.loads(PLAN.read_text())
    commands = list(documented_commands())
    if unknown := [command.text for command in commands if command.text not in plan]:
        raise UserError(f"{PLAN.name} says nothing of {unknown[0]}")
    times: dict[str, Any] = json.loads(options.results.read_text()) if options.results.exists() else {}
    environment = dict(os.environ)
    if options.venv is not None:
        made = _timed(f"{sys.executable} -m venv {options.venv}", environment, options.timeout)
        times.setdefault("python -m venv", made)
        environment["PATH"] = f"{options.venv.absolute() / 'bin'}:{environment['PATH']}"
        environment.pop("PYTHONPATH", None)
    for command in commands:
        run = plan[command.text].get("run")
        wanted = not options.only or any(word in command.text for word in options.only)
        if run is None or options.write_only or not wanted or command.text in times:
            continue
        print(f"{command.page}: {run}", flush=True)
        times[command.text] = _timed(run, environment, options.timeout)
        print(f"    {_told(times[command.text])}", flush=True)
        write_json(options.results, times)
    TABLE.write_text(table(commands, plan, times))


def _timed(command: str, environment: dict[str, str], timeout: int) -> dict[str, Any]:
    """Runs a command and returns its exit code, seconds, processor seconds, and its last lines if it failed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    program = subprocess.Popen(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = program.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, 9)
        output, _ = program.communicate()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = {"code": program.returncode, "seconds": round(seconds, 1), "processor_seconds": round(used, 1)}
    return told if program.returncode == 0 else told | {"output": output[-2000:]}


def _told(timed: dict[str, Any]) -> str:
    failed = "" if timed["code"] == 0 else f", failed with code {timed['code']}"
    return f"{timed['seconds']:.0f} s, {timed['processor_seconds']:.0f} s of processor time{failed}"


def table(commands: list[Command], plan: dict[str, dict[str, str]], times: dict[str, Any]) -> str:
    """Returns the page: a table of what was run for each page, and what was not."""
    lines = [_HEAD]
    for page in dict.fromkeys(command.page for command in commands):
        target = f"../{page}" if page == "README.md" else pathlib.Path(page).name
        lines.append(f"## [{page}]({target})\n\n| command | what was run | seconds | processor seconds |")
        lines.append("|---|---|---:|---:|")
        for command in commands:
            if command.page == page:
                lines.append(_row(command.text, plan[command.text], times.get(command.text)))
        lines.append("")
    return "\n".join(lines)


def _row(text: str, planned: dict[str, str], timed: dict[str, Any] | None) -> str:
    shown = text.replace("|", "\\|")
    if "skip" in planned:
        return f"| `{shown}` | not run: {planned['skip']} | | |"
    run = "the same" if planned["run"] == text else f"`{planned['run']}`".replace("|", "\\|")
    if timed is None:
        return f"| `{shown}` | {run} | not timed yet | |"
    failed = "" if timed["code"] == 0 else f" (failed: {timed['code']})"
    return f"| `{shown}` | {run}{failed} | {timed['seconds']:.0f} | {timed['processor_seconds']:.0f} |"


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
