"""Work that fails, dies, hangs, is killed, or is shared among jobs: every piece is done once or named."""

import functools
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.synthesis.meshes.workers import kept_file, work_through


class Piece(NamedTuple):
    uid: str


def make(piece, log=None):
    """Fails as the piece's name says."""
    if log is not None:
        with pathlib.Path(log).open("a") as file:
            file.write(piece.uid + "\n")
    if piece.uid.startswith("bad"):
        raise ValueError("this\none is bad")
    if piece.uid.startswith("crash"):
        os.kill(os.getpid(), signal.SIGKILL)
    if piece.uid.startswith("hang"):
        time.sleep(1000)
    if piece.uid == "misuse":
        raise UserError("nothing is installed")
    return piece.uid.encode()


def pieces(*names):
    return [Piece(name) for name in names]


def done(folder):
    return sorted(file.read_text() for file in folder.glob("*.msgpack"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_piece_is_named_and_stops_nothing(tmp_path, workers):
    reasons = work_through(pieces("a", "bad", "b"), make, tmp_path, workers=workers)
    assert reasons == {"bad": "this one is bad"}
    assert done(tmp_path) == ["a", "b"] and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UserError, match="nothing is installed"):
        work_through(pieces("misuse", "c"), make, tmp_path, workers=workers)


def test_a_piece_that_takes_its_process_down_is_left_out_alone(tmp_path):
    names = [f"fine{number}" for number in range(6)]
    reasons = work_through(pieces(*names[:3], "crash", *names[3:]), make, tmp_path, workers=2)
    assert list(reasons) == ["crash"] and "3 times" in reasons["crash"]
    assert done(tmp_path) == names


def test_a_piece_that_hangs_is_ended(tmp_path):
    (tmp_path / kept_file(tmp_path, "hang").with_suffix(".begun").name).write_text("2")
    reasons = work_through(pieces("a", "hang"), make, tmp_path, workers=2, time_limit=1.0)
    assert list(reasons) == ["hang"] and done(tmp_path) == ["a"]


def test_what_is_done_is_not_done_again(tmp_path):
    counted = functools.partial(make, log=tmp_path / "log")
    folder = tmp_path / "kept"
    folder.mkdir()
    work_through(pieces("a", "b"), counted, folder, workers=1)
    work_through(pieces("a", "b", "c"), counted, folder, workers=1)
    assert (tmp_path / "log").read_text().split() == ["a", "b", "c"]


KILLED = """
import pathlib, sys, time
sys.path.insert(0, {tests!r})
from test_mesh_workers import Piece
from diffgs_jax.synthesis.meshes.workers import work_through
def slow(piece):
    time.sleep(0.1)
    return piece.uid.encode()
work_through([Piece(f"{{n:03d}}") for n in range(100)], slow, pathlib.Path({folder!r}), workers=1)
"""


def test_a_kill_loses_at_most_the_piece_in_hand(tmp_path):
    code = KILLED.format(tests=str(pathlib.Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(done(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = done(tmp_path)
    # Done are the first ones, each of them whole, and one more at most was begun.
    assert 3 <= len(before) < 100 and before == [f"{number:03d}" for number in range(len(before))]
    assert len(list(tmp_path.glob("*.begun"))) <= 1
    assert work_through([Piece(f"{number:03d}") for number in range(len(before) + 2)], make, tmp_path, workers=1) == {}
    assert len(done(tmp_path)) == len(before) + 2


@pytest.mark.long
def test_ray_runs_the_same_function(tmp_path):
    ray = pytest.importorskip("ray")
    tests = str(pathlib.Path(__file__).parent)
    root = str(pathlib.Path(__file__).parents[2])
    path = os.pathsep.join([tests, root, os.environ.get("PYTHONPATH", "")])
    ray.init(num_cpus=1, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}}, log_to_driver=False)
    try:
        reasons = work_through(pieces("a", "bad", "b", "crash"), make, tmp_path, ray=True)
        with pytest.raises(UserError, match="nothing is installed"):
            work_through(pieces("misuse"), make, tmp_path, ray=True)
    finally:
        ray.shutdown()
    assert list(reasons) == ["bad", "crash"] and reasons["bad"] == "this one is bad" and "3 times" in reasons["crash"]
    assert done(tmp_path) == ["a", "b"]


def test_without_ray_the_user_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="diffgs_jax\\[ray\\]"):
        work_through(pieces("a"), make, tmp_path, ray=True)
