"""Files are replaced whole or not at all, whatever happens while they are written."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.files import write_bytes, write_json, write_text, written_beside


def test_a_file_is_replaced_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with written_beside(path) as beside:
        assert beside.suffix == ".txt" and beside.parent == tmp_path
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_what_goes_wrong_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), written_beside(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_kill_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = f"""
import os, signal
from diffgs_jax.files import written_beside
with written_beside({str(path)!r}) as beside:
    beside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_many_may_write_one_file_at_a_time(tmp_path):
    """What is there at the end is what one of them wrote, and nobody fails."""
    contents = [bytes([number]) * 100_000 for number in range(16)]
    failures = []

    def write(content):
        try:
            for _ in range(20):
                write_bytes(tmp_path / "a.bin", content)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and (tmp_path / "a.bin").read_bytes() in contents and os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("name", ["none/a.txt", "a" * 300, "folder", ".", "folder/..", "pipe", "/dev/null"])
def test_what_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="^cannot write [^\n]*$"):
        write_text(tmp_path / name, "text")
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"] and not os.path.isfile("/dev/null")


def test_text_is_utf_8_and_json_survives_names_that_are_no_text(tmp_path):
    write_text(tmp_path / "a.txt", "Stuhl °\n")
    assert (tmp_path / "a.txt").read_bytes() == b"Stuhl \xc2\xb0\n"
    value = {"name": os.fsdecode(b"caf\xe9.png"), "other": ["é", "\ud83d\ude00", 1.5, None]}
    write_json(tmp_path / "a.json", value)
    found = json.loads((tmp_path / "a.json").read_bytes())
    assert found["name"] == value["name"] and os.fsencode(found["name"]) == b"caf\xe9.png"
    assert found["other"] == ["é", "\U0001f600", 1.5, None]
