"""Paths that are no files, archives that lie, and JSON of every oddity; beside what Python's own readers say."""

import gzip
import io
import json
import os
import socket
import tarfile
import time
import tracemalloc
import zipfile

import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import (
    gunzip,
    json_list,
    json_object,
    load_json,
    open_regular,
    open_tar,
    open_zip,
    parse_json,
    read_member,
    read_regular,
    read_tar_member,
    shown,
    shown_size,
    tar_members,
)


def test_what_is_no_file_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket")
    os.symlink("loop", "loop")
    os.symlink("pipe", "link")
    (tmp_path / "file").write_bytes(b"abc")
    cases = {
        "missing": "No such file",
        ".": "it is a folder",
        "pipe": "it is a pipe",
        "link": "it is a pipe",
        "socket": "it is a socket",
        "/dev/zero": "it is a device",
        "/proc/self/mem": "error",
        "loop": "symbolic links",
        "x" * 300: "too long",
        "file/inside": "Not a directory",
        "a\0b": "no file can have such a name",
        "a\ud800b": "no file can have such a name",
    }
    start = time.monotonic()
    for path, message in cases.items():
        for error in (UserError, DataError):
            with pytest.raises(error, match=f"cannot read .*{message}") as caught:
                read_regular(path, limit=10, unreadable=error)
            assert str(caught.value).isprintable() and len(str(caught.value)) < 300
    assert time.monotonic() - start < 5
    assert read_regular("file", limit=3) == b"abc"
    with pytest.raises(DataError, match="file is too large: 3 bytes, and at most 2 bytes are read"):
        read_regular("file", limit=2)
    with open("sparse", "wb") as opened:
        opened.truncate(2**40)
    with pytest.raises(DataError, match="too large: 1.1 TB"):
        read_regular("sparse", limit=2**30)


@pytest.mark.skipif(os.geteuid() == 0, reason="an administrator may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a").touch(mode=0)
    with pytest.raises(UserError, match="Permission denied"):
        read_regular(tmp_path / "a", limit=1)


def test_paths_and_sizes_in_messages():
    assert shown("a/b.png") == "a/b.png"
    assert shown("a\nb\x1b[31m\udcff") == "a b\ufffd[31m\ufffd"
    assert len(shown("x" * 5000)) == 200
    assert [shown_size(size) for size in (5, 61700, 2_500_000, 4_500_000_000)] == [
        "5 bytes",
        "61.7 kB",
        "2.5 MB",
        "4.5 GB",
    ]


def test_gzip_within_a_limit():
    content = bytes(range(256)) * 10
    assert gunzip(gzip.compress(content) + gzip.compress(b"more"), 10_000, "x") == content + b"more"
    bomb = gzip.compress(bytes(50_000_000), 9)
    tracemalloc.start()
    with pytest.raises(DataError, match="x holds more than 1 MB"):
        gunzip(bomb, 1_000_000, "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    for broken in (b"", b"hello", gzip.compress(content)[:-4], gzip.compress(content)[:-8] + bytes(8)):
        if broken:
            with pytest.raises(DataError, match="x is truncated or no gzip file"):
                gunzip(broken, 10_000, "x")


def test_members_of_a_zip_within_a_limit(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small", b"abc" * 100)
        archive.writestr("large", bytes(50_000_000))
    with open_regular(path) as opened, open_zip(opened, "x") as archive:
        assert read_member(archive, "small", 300, "x") == b"abc" * 100
        with pytest.raises(DataError, match="x: small is too large: 300 bytes, and at most 299 bytes"):
            read_member(archive, "small", 299, "x")
        with pytest.raises(DataError, match="large is too large: 50 MB"):
            read_member(archive, "large", 10**6, "x")
        with pytest.raises(DataError, match="x has no member other"):
            read_member(archive, "other", 10, "x")
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with open_regular(path) as opened, open_zip(opened, "x") as archive, pytest.raises(DataError, match="x is damaged"):
        read_member(archive, "small", 300, "x")


def packed(*members, kind=tarfile.GNU_FORMAT):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for name, content, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def read_all(content, limit=1000):
    with open_tar(io.BytesIO(content), "x") as archive:
        return {info.name: read_tar_member(archive, info, limit, "x") for info in tar_members(archive, "x")}


def sparse(size):
    """A GNU sparse member (type S) of `size` bytes, of which none is stored."""
    head = bytearray(packed(("hole", b"", {}))[:512])
    head[156:157] = b"S"
    head[386:410] = b"%011o\0%011o\0" % (size, 0)
    head[483:495] = b"%011o\0" % size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(1024)


def test_members_of_a_tar_within_a_limit():
    plain = ("a/one", b"abc", {}), ("two", b"x" * 1000, {})
    assert read_all(packed(*plain)) == {"a/one": b"abc", "two": b"x" * 1000}
    assert read_all(packed(*plain, ("link", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}))).keys() == {
        "a/one",
        "two",
    }
    with tarfile.open(fileobj=io.BytesIO(sparse(2**33 - 1))) as archive:
        assert archive.next().issparse() and archive.next() is None  # the standard library would make 8 GB of it
    assert read_all(sparse(2**33 - 1)) == {}
    with pytest.raises(DataError, match="two is too large: 1 kB, and at most 999 bytes"):
        read_all(packed(*plain), limit=999)
    backwards = ("a", b"", {"pax_headers": {"size": "-1024"}})
    swollen = ("a", b"", {"pax_headers": {f"k{i}": "v" for i in range(500)}})
    for odd in (backwards, swollen):
        with pytest.raises(DataError, match="damaged|extended headers"):
            read_all(packed(odd, *plain, kind=tarfile.PAX_FORMAT))
    for broken in (b"hello", gzip.compress(packed(*plain)), packed(*plain)[:700]):
        with pytest.raises(DataError, match="x is (truncated|damaged)"):
            read_all(broken)


ODD = {
    '{"a": NaN}': "NaN is no number",
    "[Infinity]": "Infinity is no number",
    "[-Infinity]": "-Infinity is no number",
    "[1e999]": "too large",
    "9" * 5000: "does not fit into 64 bits",
    str(2**64): "does not fit into 64 bits",
    str(-(2**63) - 1): "does not fit into 64 bits",
    '"\\ud800"': "half a character",
    '{"\\udfff": 1}': "half a character",
    '"a\\u0000b"': "a NUL",
    '{"a": 1, "b": 2, "a": 3}': "two values for 'a'",
    "[" * 65 + "]" * 65: "nested more than 64 levels",
    "[" * 200_000 + "]" * 200_000: "nested too deeply",
    '{"a":' * 100_000 + "1" + "}" * 100_000: "nested too deeply",
    "": "not JSON that can be used",
    "{": "not JSON that can be used",
    "[1,]": "not JSON that can be used",
    "'a'": "not JSON that can be used",
}


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_json_is_one_line(text):
    with pytest.raises(DataError, match=ODD[text]) as caught:
        parse_json(text.encode(), "x.json")
    assert str(caught.value).startswith("x.json is ") and str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_json_is_what_others_read(tmp_path):
    tree = {"a": [1, -2.5e-3, 2**64 - 1, -(2**63), True, None, "ä\n\U0001f600", {}], "b": {"c": [[[]]]}}
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json(json.dumps(tree, ensure_ascii=False).encode(encoding), "x") == tree
    assert parse_json(json.dumps(tree), "x") == tree
    (tmp_path / "a.json").write_text(json.dumps(tree))
    assert load_json(tmp_path / "a.json") == tree
    with pytest.raises(DataError, match="too large"):
        load_json(tmp_path / "a.json", limit=10)
    with pytest.raises(DataError, match="x is not JSON that can be used: .*utf-8"):
        parse_json(b'"\xff\xfe\x80"', "x")
    assert parse_json('"\\ud800\\u0000"', "x", any_text=True) == "\ud800\0"


def test_kinds_of_values():
    assert json_object({"a": 1}, "x") == {"a": 1} and json_list([1], "x") == [1]
    for value, words in ([1], "a list"), ("a", "a string"), (True, "true or false"), (None, "null"), (3, "a number"):
        with pytest.raises(DataError, match=f"x is {words} where a JSON object is expected"):
            json_object(value, "x")
    with pytest.raises(DataError, match="x is an object where a JSON list is expected"):
        json_list({}, "x")
