"""What a newcomer sees on a terminal of 80 columns: refusals at once, and never silence."""

import fcntl
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from typing import NamedTuple

import pytest

import diffgs_jax
from diffgs_jax.__main__ import commands, main

PROCESSOR_SECONDS = 2.0


class Seen(NamedTuple):
    text: str
    code: int
    processor_seconds: float
    longest_silence: float


def on_a_terminal(*words, columns=80):
    """Runs `python -m …` in a pseudo-terminal of that many columns."""
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    program = subprocess.Popen(
        [sys.executable, "-m", *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    parts, silence, last = [], 0.0, time.monotonic()
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux tells that the other end was closed
            break
        silence, last = max(silence, time.monotonic() - last), time.monotonic()
        parts.append(part)
        if not part:
            break
    _, status, used = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", b"".join(parts).decode())
    return Seen(text, program.returncode, used.ru_utime + used.ru_stime, silence)


def test_a_misspelt_sampler_is_told_with_what_there_is():
    seen = on_a_terminal("diffgs_jax.sample", "--image", "x", "--sampler", "dmp")
    assert seen.code == 2
    assert seen.text.count("\n") == 1 and seen.text.startswith("error: ")
    assert "invalid choice 'dmp' for argument '--sampler'" in seen.text
    assert "Give one of ddim, ddpm, dpm, dpm_sde, edm, euler" in seen.text
    assert seen.processor_seconds < PROCESSOR_SECONDS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sample", "--image", "no.png", "--out", "out"), "cannot read no.png"),
        (("sample", "--image", "no.png", "--out", "out", "--frames", "-1"), "the number of frames"),
        (("evaluate", "--out", "x", "--stepz", "3"), "Unrecognized options: --stepz"),
        (("train", "--config", "no.py"), "there is no config file no.py"),
    ],
)
def test_refusals_come_at_once(words, message):
    seen = on_a_terminal(f"diffgs_jax.{words[0]}", *words[1:])
    assert seen.code == 2 and message in seen.text
    assert seen.processor_seconds < PROCESSOR_SECONDS


def test_help_comes_at_once():
    seen = on_a_terminal("diffgs_jax.sample", "--help")
    assert seen.code == 0 and "--sampler" in seen.text
    assert seen.processor_seconds < PROCESSOR_SECONDS
    assert max(map(len, seen.text.splitlines())) <= 80


def test_the_list_of_commands(capsys):
    main([])
    listed = capsys.readouterr().out
    package = pathlib.Path(diffgs_jax.__file__).parent
    runnable = {path.stem for path in package.glob("*.py") if "\ndef main(" in path.read_text()} - {"__main__"}
    assert runnable == set(commands()) and {"sample", "train", "evaluate"} <= runnable
    assert all(f"python -m diffgs_jax.{name}" in listed for name in runnable)
    main(["--version"])
    assert capsys.readouterr().out.strip() == f"diffgs_jax {diffgs_jax.__version__}"
    with pytest.raises(SystemExit) as stop:
        main(["smple"])
    assert stop.value.code == 2 and "there are app, check" in capsys.readouterr().err


def test_a_command_runs_by_its_name(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--config", "no.py"])
    assert stop.value.code == 2 and "no config file" in capsys.readouterr().err


def test_the_front_of_the_library():
    assert {"load", "render", "Gaussians", "Cameras", "__version__"} <= set(dir(diffgs_jax))
    assert re.match(r"\d+(\.|\+)", diffgs_jax.__version__)


@pytest.mark.long
def test_a_first_run_is_never_silent_for_long(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "0")
    seen = on_a_terminal("diffgs_jax.sample", "--image", "assets/example.png", "--out", str(tmp_path / "out"))
    assert seen.code == 0, seen.text
    for said in ("loading the model", "compiling (first time only)", "sampling: ", "turntable: ", "gaussians.ply ("):
        assert said in seen.text
    assert seen.longest_silence < 2.0
