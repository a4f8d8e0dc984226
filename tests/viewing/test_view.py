"""The viewing command."""

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from diffgs_jax.interop import write_gaussians
from diffgs_jax.view import main


@pytest.fixture
def ply(tmp_path, gaussians):
    write_gaussians(tmp_path / "ball.ply", gaussians)
    return tmp_path / "ball.ply"


def failure(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return caught.value.code, error


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["absent.ply"], 2, "there is no file absent.ply"),
        ([], 2, "--help"),
        (["README.md"], 2, ".ply, .spz, .splat, .sog, .glb, .obj"),
        (["absent.ply", "--up", "x"], 2, "up"),
    ],
)
def test_one_line_for_bad_usage(arguments, code, words, capsys):
    found, error = failure(arguments, capsys)
    assert found == code and words in error


def test_one_line_for_bad_data(tmp_path, capsys):
    (tmp_path / "bad.ply").write_text("hello")
    assert failure([str(tmp_path / "bad.ply")], capsys)[0] == 1


def test_one_line_without_viser(ply, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    code, error = failure([str(ply)], capsys)
    assert code == 2 and 'pip install "diffgs_jax[view]"' in error


def test_a_port_that_is_taken(ply, capsys):
    pytest.importorskip("viser")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, error = failure([str(ply), "--port", str(port)], capsys)
    assert code == 2 and str(port) in error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_it_serves_local_names_until_interrupted(name, ply):
    pytest.importorskip("viser")
    command = [sys.executable, "-m", "diffgs_jax.view", str(ply), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        address = line.split(" at ")[1].split()[0]
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}), timeout=20)
        process.send_signal(getattr(signal, name))
        out, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0 and not out.strip() and not error
