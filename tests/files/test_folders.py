"""Folders that appear whole, take the place of others, or are gone on with."""

import os
import signal
import subprocess
import sys

import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.files import filled_folder, new_folder, unfinished_folder


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_of_a_filled_folder_come_together_and_leave_others_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other").write_text("stays")
    with filled_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "out" / "a").exists()
    assert names(tmp_path / "out") == ["a", "other"]
    with pytest.raises(ZeroDivisionError), filled_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == ["out", "out/a", "out/other"]


def test_a_new_folder_appears_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    with new_folder(out) as folder:
        (folder / "a").write_text("a")
        assert not out.exists()
    assert names(tmp_path) == ["deep", "deep/out", "deep/out/a"]
    with pytest.raises(UserError, match="exists already; ask somebody"), new_folder(out, hint="ask somebody"):
        raise AssertionError
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "other"):
        raise ZeroDivisionError
    assert names(tmp_path) == ["deep", "deep/out", "deep/out/a"]


def test_an_old_folder_is_there_until_the_new_one_is_whole(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), new_folder(out, overwrite=True) as folder:
        (folder / "new").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == ["out", "out/old"]
    with new_folder(out, overwrite=True) as folder:
        (folder / "new").write_text("new")
        assert names(out) == ["old"]
    assert names(tmp_path) == ["out", "out/new"]


def test_what_a_kill_leaves_is_removed_by_the_next_call(tmp_path):
    program = f"""
import os, pathlib, signal
from diffgs_jax.files import new_folder
with new_folder(pathlib.Path({str(tmp_path / "out")!r})) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
    assert names(tmp_path) == ["out", "out/a"]


@pytest.mark.parametrize("name", ["file", "file/out", "a" * 300, "a" * 250])
def test_what_cannot_be_created_is_one_line(tmp_path, name):
    (tmp_path / "file").write_text("file")
    with pytest.raises(UserError, match="^[^\n]+$"), new_folder(tmp_path / name, overwrite=True):
        raise AssertionError
    if name != "a" * 250:  # which has no room for what is written beside it
        with pytest.raises(UserError, match="^[^\n]+$"), filled_folder(tmp_path / name):
            raise AssertionError
    assert os.listdir(tmp_path) == ["file"]


def test_the_same_settings_find_the_same_pieces(tmp_path):
    first = unfinished_folder(tmp_path / "out", {"size": 8, "name": "a"})
    (first / "piece").write_text("1")
    assert unfinished_folder(tmp_path / "out", {"name": "a", "size": 8}) == first
    assert unfinished_folder(tmp_path / "out", {"size": 9, "name": "a"}) != first
