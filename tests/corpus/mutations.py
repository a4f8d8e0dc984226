"""What happens to files: cut off, flipped, swollen, exchanged, and put where no file belongs.

Everything is a function of the content and a seed, so a case that fails can be made again by its name.
"""

import json
import os
import random
import re
import resource
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple


class Seed(NamedTuple):
    """A valid input.

    Attributes:
        name: of the seed.
        files: contents by relative path.
        target: the path that the reader is given, relative; "." for the folder.
    """

    name: str
    files: dict[str, bytes]
    target: str


class Case(NamedTuple):
    """An input to try: a seed whose file `changed` has other content, or is replaced by something that is no file."""

    name: str
    files: dict[str, bytes]
    target: str
    changed: str
    place: str | None = None


HUGE = [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\0\0\0\0", b"\x01\0\0\x40"]
HUGE += [struct.pack("<q", 2**62), struct.pack("<q", -1), struct.pack(">q", 2**62), struct.pack("<q", 2**32 + 1)]
NUMBERS = [b"99999999999999999999", b"4294967296", b"-1", b"0", b"1e999", b"nan", b"9" * 5000, b"1e-400", b"0x10", b""]
FOREIGN = {
    "empty": b"",
    "text": b"hello, this is no such file\n" * 3,
    "utf-16": "hello".encode("utf-16"),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(64),
    "zip": b"PK\x03\x04" + bytes(64),
    "gzip": b"\x1f\x8b\x08\0" + bytes(64),
    "pickle": b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
    "program": b"\x7fELF" + bytes(64),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%touch hacked) (w) file\n",
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "list": b"[]",
    "number": b"3",
    "null": b"null",
}


def mutated(content: bytes, seed: str) -> Iterator[tuple[str, bytes]]:
    """Yields names and contents of some hundred damaged copies."""
    draw, size = random.Random(seed), len(content)
    for cut in sorted({0, 1, 2, 4, 8, 15, 31, 64, size // 4, size // 2, 3 * size // 4, *range(size - 9, size, 2)}):
        if 0 <= cut < size:
            yield f"cut at {cut}", content[:cut]
    places = [draw.randrange(min(size, 200)) for _ in range(14)]
    places += [draw.randrange(size) for _ in range(14)] + [size - 1 - draw.randrange(min(size, 64)) for _ in range(6)]
    for place in places:
        bit = draw.randrange(8)
        yield f"bit {place}.{bit}", patched(content, place, bytes([content[place] ^ 1 << bit]))
    for value in (0, 0x7F, 0x80, 0xFF):
        for _ in range(2):
            place = draw.randrange(min(size, 300))
            yield f"byte {place} is {value}", patched(content, place, bytes([value]))
    for value in HUGE:
        for place in (draw.randrange(min(size, 64)), draw.randrange(size)):
            yield f"{value.hex()} at {place}", patched(content, place, value)[: max(size, place + len(value))]
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content[:20_000]))
    if len(numbers) > 3 and content[:2000].isascii():
        for value in NUMBERS:
            for found in draw.sample(numbers, 2):
                changed = content[: found.start()] + value + content[found.end() :]
                yield f"{value[:20].decode() or 'nothing'} for the number at {found.start()}", changed
    for _ in range(3):
        begin = draw.randrange(size)
        end = min(size, begin + draw.randrange(1, 200))
        yield f"without {begin} to {end}", content[:begin] + content[end:]
        yield f"{begin} to {end} twice", content[:end] + content[begin:]
        yield f"zeros from {begin} to {end}", content[:begin] + bytes(end - begin) + content[end:]
        yield f"noise at {begin}", content[:begin] + draw.randbytes(50) + content[begin:]
    yield "twice", content + content
    yield "halves exchanged", content[size // 2 :] + content[: size // 2]
    yield "a tail of noise", content + draw.randbytes(100)
    yield "a head of noise", draw.randbytes(10) + content
    yield "line ends of Windows", content.replace(b"\n", b"\r\n")
    yield "a mark of order in front", b"\xef\xbb\xbf" + content
    for name, other in FOREIGN.items():
        yield f"foreign: {name}", other


def patched(content: bytes, place: int, value: bytes) -> bytes:
    return content[:place] + value + content[place + len(value) :]


def gzipped_zeros(head: bytes, count: int) -> bytes:
    """Returns a gzip file of some bytes and many zeros, without ever holding them."""
    packing = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    parts, block = [packing.compress(head)], bytes(1 << 20)
    for place in range(0, count, len(block)):
        parts.append(packing.compress(block[: count - place]))
    return b"".join([*parts, packing.flush()])


# As they stand in the text: some of them are no JSON, and Python's writer would not write others.
ODD_VALUES = (
    *("null", "true", "[]", "{}", '""', "0", "-1", "1e308", "1e999", "NaN", "-Infinity", "[[]]", '{"a": 1}'),
    *(
        '"\\ud800"',
        '"\\u0000"',
        '"a\\nb"',
        "9" * 5000,
        str(2**64),
        "1e-320",
        '"' + "x" * 5000 + '"',
        '"../../../etc/passwd"',
    ),
    *('"/etc/passwd"', "[" * 90 + "]" * 90, "[" * 5000 + "]" * 5000, "[1, 2", '"\\ud83d\\ude00"', "0.5", "[null, 1]"),
)


def odd_json(tree: Any, limit: int = 400) -> Iterator[tuple[str, bytes]]:
    """Yields a JSON text with one of its values exchanged, one of its keys left out, or one named twice."""
    places = list(_places(tree))
    draw = random.Random(len(places))
    pairs = [(place, value) for place in places for value in ODD_VALUES]
    for place, value in draw.sample(pairs, min(limit, len(pairs))):
        yield f"{'.'.join(map(str, place))} is {value[:30]}", _written(tree, place, value)
    for place in places:
        if place and isinstance(place[-1], str):
            yield f"without {'.'.join(map(str, place))}", _written(tree, place, None)
            yield f"{'.'.join(map(str, place))} twice", _written(tree, place, f'1, "{place[-1]}": 2')


def _places(tree: Any, place: tuple = ()) -> Iterator[tuple]:
    yield place
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in items:
        yield from _places(item, (*place, key))


def _written(tree: Any, place: tuple, text: str | None) -> bytes:
    copied = json.loads(json.dumps(tree))
    if not place:
        return (text or "").encode()
    inside = copied
    for key in place[:-1]:
        inside = inside[key]
    if text is None:
        del inside[place[-1]]
        return json.dumps(copied).encode()
    inside[place[-1]] = "@@@"
    return json.dumps(copied).replace('"@@@"', text).encode()


PLACES = (
    "missing",
    "a folder",
    "a pipe",
    "a socket",
    "a loop",
    "a link to nothing",
    "not to be read",
    "a device without end",
    "an empty device",
    "memory of a process",
    "a terabyte of zeros",
    "a name too long",
    "a path too long",
    "a NUL in its name",
    "below a file",
    "a name of bytes",
    "a name with a line break",
    "a name of half characters",
)
"""What may be where a file is expected. The last three have the seed's content."""


def put(place: str | None, path: str, content: bytes) -> str:
    """Makes `path` what `place` says, and returns the path to give to a reader: usually the same."""
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    other = None
    match place:
        case "missing":
            pass
        case "a folder":
            os.mkdir(path)
        case "a pipe":
            os.mkfifo(path)
        case "a socket":
            held = os.getcwd()
            os.chdir(folder)  # the name of a socket is short
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(name)
            os.chdir(held)
        case "a loop":
            os.symlink(name, path)
        case "a link to nothing":
            os.symlink("nowhere", path)
        case "a device without end":
            os.symlink("/dev/zero", path)
        case "an empty device":
            os.symlink("/dev/null", path)
        case "memory of a process":
            os.symlink("/proc/self/mem", path)
        case "a terabyte of zeros":
            with open(path, "wb") as opened:
                opened.truncate(2**40)
        case "a name too long":
            other = os.path.join(folder, "x" * 300 + suffix)
        case "a path too long":
            other = os.path.join(folder, *["y" * 200] * 30, name)
        case "a NUL in its name":
            other = os.path.join(folder, f"{stem}\0{suffix}")
        case "below a file":
            write(path, content)
            other = os.path.join(path, name)
        case "a name of bytes":
            other = os.fsdecode(os.fsencode(os.path.join(folder, stem)) + b"\xff\xfe\x80" + suffix.encode())
            write(other, content)
        case "a name with a line break":
            other = os.path.join(folder, f"-{stem}\n\t\x1b[31m'\"{suffix}")
            write(other, content)
        case "a name of half characters":
            other = os.path.join(folder, f"{stem}\ud800{suffix}")
        case "not to be read":
            write(path, content)
            os.chmod(path, 0)
            give_up_privileges()
        case _:
            write(path, content)
    return other or path


def write(path: str, content: bytes) -> None:
    with open(path, "wb") as opened:
        opened.write(content)


def give_up_privileges() -> None:
    """Lets this process keep its user but not the administrator's right to read everything."""
    if os.geteuid() == 0:
        import ctypes

        header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, sets):
            raise OSError(ctypes.get_errno(), "capset")


def cases(seeds: list[Seed]) -> Iterator[Case]:
    """Yields what is made of a reader's seeds: each file of each changed, and replaced."""
    for seed in seeds:
        yield Case(f"{seed.name}, whole", seed.files, seed.target, "")
        for path, content in seed.files.items():
            for name, changed in mutated(content, f"{seed.name}/{path}"):
                yield Case(f"{seed.name}, {path}: {name}", {**seed.files, path: changed}, seed.target, path)
    first = seeds[0]
    for path in first.files:
        for place in PLACES:
            if path == first.target or place not in PLACES[-7:]:  # other names are only for what the reader is given
                yield Case(f"{first.name}, {path} is {place}", first.files, first.target, path, place)


def prepare(case: Case, folder: str) -> str:
    """Writes a case's files and returns the path to give to its reader."""
    target = os.path.join(folder, case.target)
    for path, content in case.files.items():
        place = os.path.join(folder, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        given = put(case.place if path == case.changed else None, place, content)
        if path == case.target:
            target = given
    return target


def limit_memory(megabytes: int) -> None:
    """Stops this process where it would take down the machine; what it really took is looked up afterwards."""
    with open("/proc/self/status") as opened:
        data = next(int(line.split()[1]) for line in opened if line.startswith("VmData")) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (data + (megabytes << 20),) * 2)
