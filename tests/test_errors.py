"""How a command line ends: one line and a code, with what was open closed."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import pathlib, sys, tempfile, time
from diffgs_jax.errors import report_errors
with report_errors(), tempfile.TemporaryDirectory(dir=sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""


# Shells ignore the one for what they start in the background, nohup ignores the other: children inherit that.
LISTENING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
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
    command = [sys.executable, "-c", LISTENING + PROGRAM, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
