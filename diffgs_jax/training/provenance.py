"""What a run was made with, so that it can be made again: command, versions, commit and uncommitted changes."""

import importlib.metadata
import json
import pathlib
import platform
import subprocess
import sys
import time

import jax

from diffgs_jax.files import write_text

_PACKAGES = ("diffgs_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
_LONGEST_DIFF = 1 << 20


def write_provenance(folder: pathlib.Path) -> None:
    """Appends to `provenance.jsonl`, one line each time the run is started, and keeps uncommitted changes beside it.

    Args:
        folder: of the run.

    Raises:
        OSError: if the file cannot be written.
        UserError: if the changes cannot.
    """
    source = pathlib.Path(__file__).parent
    commit = _git(source, "rev-parse", "HEAD")
    diff = _git(source, "diff", "HEAD", "--", ".", ":(exclude)*.ipynb")[:_LONGEST_DIFF] if commit else ""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    name = f"diff_{started.replace(':', '')}.patch" if diff else ""
    if diff:
        write_text(folder / name, diff)
    facts = {
        "started": started,
        "command": sys.argv,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
        "commit": commit,
        "diff": name,
        "devices": [jax.device_count(), jax.devices()[0].device_kind],
        "processes": jax.process_count(),
    }
    with open(folder / "provenance.jsonl", "a") as file:
        file.write(json.dumps(facts) + "\n")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git(folder: pathlib.Path, *words: str) -> str:
    """Returns what git prints; nothing where there is no git, or the package was installed from a wheel."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
