"""JSON, gzip, zip and tar as `diffgs_jax.files` reads them, against Python's own readers."""

import gzip
import io
import json
import pathlib
import tarfile
import zipfile

from mutations import Case, Seed, gzipped_zeros, mutated, odd_json
from table import Reader

from diffgs_jax.files import (
    gunzip,
    load_json,
    open_regular,
    open_tar,
    open_zip,
    read_member,
    read_tar_member,
    shown,
    tar_members,
)

LIMIT = 2**20
TREE = {
    "w": 640,
    "scale": 0.5,
    "camera_model": "OPENCV",
    "flag": True,
    "nothing": None,
    "frames": [{"file_path": "images/ä.png", "transform_matrix": [[1.0, 0, 0, 1e-3], [0, -1.5e3, 0, 2]]}, {"a": []}],
}


def json_text() -> Reader:
    def cases():
        for name, text in odd_json(TREE):
            yield Case(f"value: {name}", {"a.json": text}, "a.json", "a.json")
        for name in ("utf-16", "utf-32", "utf-8-sig"):
            yield Case(f"encoding: {name}", {"a.json": json.dumps(TREE).encode(name)}, "a.json", "a.json")
        yield Case("40 MB", {"a.json": b"[" + b"1," * 20_000_000 + b"1]"}, "a.json", "a.json")
        yield Case("15 MB of lists", {"a.json": b"[" + b"[]," * 5_000_000 + b"1]"}, "a.json", "a.json")

    seeds = [Seed("a capture", {"a.json": json.dumps(TREE, ensure_ascii=False, indent=1).encode()}, "a.json")]
    return Reader(
        "json_text", lambda: seeds, load_json, lambda path: json.loads(pathlib.Path(path).read_bytes()), cases
    )


def gzipped() -> Reader:
    content = gzip.compress(json.dumps(TREE).encode(), mtime=0)

    def read(path: str) -> list[int]:
        with open_regular(path) as opened:
            return list(gunzip(opened, LIMIT, shown(path)))

    def cases():
        yield Case("a gigabyte", {"a.gz": gzipped_zeros(b"", 2**30)}, "a.gz", "a.gz")
        yield Case("100,000 empty members", {"a.gz": gzip.compress(b"", mtime=0) * 100_000}, "a.gz", "a.gz")

    seeds = [Seed("a text", {"a.gz": content}, "a.gz"), Seed("two members", {"a.gz": content * 2}, "a.gz")]
    return Reader(
        "gzipped", lambda: seeds, read, lambda path: list(gzip.decompress(pathlib.Path(path).read_bytes())), cases
    )


def zipped() -> Reader:
    def packed(method: int, contents: dict[str, bytes]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content in contents.items():
                archive.writestr(zipfile.ZipInfo(name), content, method)
        return file.getvalue()

    contents = {"a/one.txt": b"one " * 50, "a/two.bin": bytes(range(256))}

    def read(path: str) -> dict[str, list[int]]:
        with open_regular(path) as opened, open_zip(opened, shown(path)) as archive:
            return {name: list(read_member(archive, name, LIMIT, shown(path))) for name in archive.namelist()}

    def reference(path: str) -> dict[str, list[int]]:
        with zipfile.ZipFile(path) as archive:
            return {name: list(archive.read(name)) for name in archive.namelist()}

    def cases():
        for name, method in {"bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}.items():
            yield Case(name, {"a.zip": packed(method, contents)}, "a.zip", "a.zip")
        yield Case("a bomb", {"a.zip": packed(zipfile.ZIP_DEFLATED, {"a": bytes(2**28)})}, "a.zip", "a.zip")
        many = {f"{i:05}": b"" for i in range(60_000)}
        yield Case("60,000 members", {"a.zip": packed(zipfile.ZIP_STORED, many)}, "a.zip", "a.zip")

    seeds = [
        Seed("deflated", {"a.zip": packed(zipfile.ZIP_DEFLATED, contents)}, "a.zip"),
        Seed("stored", {"a.zip": packed(zipfile.ZIP_STORED, contents)}, "a.zip"),
    ]
    return Reader("zipped", lambda: seeds, read, reference, cases)


def tarred() -> Reader:
    def packed(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.GNU_FORMAT) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
            for info, content in members:
                archive.addfile(info, io.BytesIO(content))
        return file.getvalue()

    def member(name: str, content: bytes, **fields) -> tuple[tarfile.TarInfo, bytes]:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        return info, content

    plain = member("a/one.txt", b"one " * 100), member("a/two.bin", bytes(range(256)))

    def read(path: str) -> dict[str, list[int]]:
        with open_regular(path) as opened, open_tar(opened, shown(path)) as archive:
            return {
                info.name: list(read_tar_member(archive, info, LIMIT, shown(path)))
                for info in tar_members(archive, shown(path))
            }

    def reference(path: str) -> dict[str, list[int]]:
        with tarfile.open(path, "r:") as archive:
            return {
                info.name: list(archive.extractfile(info).read())
                for info in archive
                if info.isreg() and not info.issparse()
            }

    def cases():
        hole = packed(member("hole", b"")).replace(b"0000644", b"0000644")
        head = bytearray(hole[:512])
        head[156:157] = b"S"  # GNU sparse: one piece of nothing at the end of a terabyte
        head[386:410] = b"%011o\0%011o\0" % (2**33 - 1, 0)
        head[483:495] = b"%011o\0" % (2**33 - 1)
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        yield Case("a hole of 8 GB", {"a.tar": bytes(head) + bytes(1024)}, "a.tar", "a.tar")
        for name, kind in {
            "a link": tarfile.SYMTYPE,
            "a hard link": tarfile.LNKTYPE,
            "a pipe": tarfile.FIFOTYPE,
        }.items():
            odd = member("../x", b"", type=kind, linkname="/etc/passwd")
            yield Case(name, {"a.tar": packed(*plain, odd)}, "a.tar", "a.tar")
        marks = {f"k{i}": "v" * 100 for i in range(500)}
        yield Case(
            "500 extended headers",
            {"a.tar": packed(member("a", b"", pax_headers=marks), kind=tarfile.PAX_FORMAT)},
            "a.tar",
            "a.tar",
        )
        sizes = {"size": "-512"}
        yield Case(
            "a negative size",
            {"a.tar": packed(member("a", b"", pax_headers=sizes), *plain, kind=tarfile.PAX_FORMAT)},
            "a.tar",
            "a.tar",
        )
        for name, content in mutated(packed(*plain, kind=tarfile.PAX_FORMAT), "pax"):
            yield Case(f"pax: {name}", {"a.tar": content}, "a.tar", "a.tar")

    seeds = [Seed("two files", {"a.tar": packed(*plain)}, "a.tar")]
    return Reader("tarred", lambda: seeds, read, reference, cases)
