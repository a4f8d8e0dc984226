"""How a command line ends: one line and a code, with what was open closed."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import pathlib, signal, sys, tempfile, time
from diffgs_jax.errors import report_errors
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background, nohup the other
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with report_errors(), tempfile.TemporaryDirectory(dir=sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("name", "code", "line"),
    [
        ("SIGINT", 130, "error: interrupted"),
        ("SIGTERM", 143, "error: ended by SIGTERM"),
        ("SIGHUP", 129, "error: ended by SIGHUP"),
    ],
)
def test_a_signal_closes_what_is_open(name, code, line, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error.strip()) == (code, line)
    assert not list(tmp_path.iterdir())


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    program = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + PROGRAM.replace("60", "0.5")
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0
