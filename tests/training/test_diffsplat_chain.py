"""The chain of docs/diffsplat-training.md, from pictures to a ControlNet: each stage is killed and goes on."""

import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from diffgs_jax.checkpoints import latest_step
from diffgs_jax.config import load_config

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "diffsplat-training.md"
STAGES = ("gsrecon", "gsvae", "gsvae_decoder", "diffsplat", "diffsplat_rendered", "controlnet")
_SHORT = ["--run.steps", "8", "--run.checkpoint-every", "2", "--optimizer.warmup-steps", "2"]
_LIMIT = 900.0  # seconds of a stage


def commands():
    """The words of the six commands, by the folder that each fills."""
    section = PAGE.read_text("utf-8").partition("Six stages")[2].partition("| stage |")[0]
    lines = [shlex.split(line) for line in section.splitlines() if line.startswith("    python -m diffgs_jax.train")]
    found = {}
    for words in lines:
        words = words[3:]
        config = load_config(ROOT / words[1], words[2:])
        found[pathlib.Path(config.run.folder).name] = words
    return found


def test_the_page_has_a_command_for_each_stage():
    found = commands()
    assert tuple(found) == STAGES
    text = PAGE.read_text("utf-8")
    assert all(f"| `{name}` |" in text for name in STAGES)


@pytest.mark.long
def test_every_stage_is_killed_and_goes_on(tmp_path):
    for name in ("assets", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    for name, words in commands().items():
        command = [sys.executable, "-m", "diffgs_jax.train", *words, *_SHORT]
        saved = tmp_path / "runs" / "tiny" / name / "checkpoints"
        with (tmp_path / f"{name}.log").open("wb") as log:
            running = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
            began = time.monotonic()
            while running.poll() is None and latest_step(saved) is None:
                assert time.monotonic() - began < _LIMIT
                time.sleep(0.05)
            running.send_signal(signal.SIGKILL)
            running.wait()
        assert latest_step(saved) is not None, (tmp_path / f"{name}.log").read_text()[-2000:]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=_LIMIT, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        assert latest_step(saved) == 8
