"""Which requests a local server answers, and how much its visitors may leave."""

import os

import pytest

from diffgs_jax.viewing.hosts import is_allowed
from diffgs_jax.viewing.storage import remove_oldest


@pytest.mark.parametrize(
    ("header", "host", "expected"),
    [
        ("localhost:7860", "127.0.0.1", True),
        ("127.0.0.1:7860", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("[::1]:7860", "::1", True),
        ("LOCALHOST", "127.0.0.1", True),
        ("evil.example:7860", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example:7860", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        (None, "127.0.0.1", False),
        ("any.example", "0.0.0.0", True),
        ("any.example", "192.168.1.5", True),
    ],
)
def test_a_local_server_answers_to_local_names(header, host, expected):
    assert is_allowed(header, host) is expected


def test_the_oldest_files_go(tmp_path):
    for number, name in enumerate(["c", "a/d", "a/b"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1000 + number, 1000 + number))
    assert remove_oldest(tmp_path, 300) == 300
    assert remove_oldest(tmp_path, 250) == 200
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["b", "d"]
    assert remove_oldest(tmp_path, 50) == 0
    assert remove_oldest(tmp_path / "not there", 50) == 0
