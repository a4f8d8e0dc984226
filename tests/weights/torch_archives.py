"""Files like torch.save's, put together by hand: pickles instruction by instruction, archives member by member."""

import pickle
import struct
import zipfile
from typing import NamedTuple

import numpy as np


class Raw(bytes):
    """Instructions, where a value is expected."""


class Name(NamedTuple):
    """A function or type that a pickle names."""

    module: str
    name: str


class Storage(NamedTuple):
    """A reference to a storage."""

    kind: str = "FloatStorage"
    key: str = "0"
    count: int = 4


class Call(NamedTuple):
    """A call that a pickle asks for."""

    target: object
    arguments: tuple


REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
ORDERED = Name("collections", "OrderedDict")


FLOATS = Storage()


def tensor(storage=FLOATS, offset=0, shape=(4,), stride=(1,), changes=()):
    """Returns the call that rebuilds a tensor."""
    return Call(REBUILD, (storage, offset, shape, stride, False, Call(ORDERED, ()), *changes))


def encode(value):
    """Returns the instructions of protocol 2 that put a value on the stack."""
    match value:
        case Raw():
            return bytes(value)
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Storage(kind, key, count):
            where = Name("torch.storage" if kind == "UntypedStorage" else "torch", kind)
            return encode(("storage", where, key, "cpu", count)) + b"Q"
        case Call(target, arguments):
            return encode(target) + encode(arguments) + b"R"
        case dict():
            return b"}(" + b"".join(encode(key) + encode(item) for key, item in value.items()) + b"u"
        case list():
            return b"](" + b"".join(map(encode, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(encode, value)) + b"t"
        case str():
            return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()
        case _:
            return pickle.dumps(value, protocol=2)[2:-1]


def archive(path, value, storages=None, **others):
    """Writes an archive with the pickle of a value, or a pickle's bytes, and storages of float32 0, 1, 2, 3."""
    pickled = value if isinstance(value, bytes) and not isinstance(value, Raw) else b"\x80\x02" + encode(value) + b"."
    storages = {"0": np.arange(4, dtype="<f4")} if storages is None else storages
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("archive/data.pkl", pickled)
        opened.writestr("archive/version", "3\n")
        opened.writestr("archive/byteorder", "little")
        for key, numbers in storages.items():
            opened.writestr(f"archive/data/{key}", numbers if isinstance(numbers, bytes) else numbers.tobytes())
        for name, content in others.items():
            opened.writestr(name, content)
    return path


def doubled(kind, times=50):
    """Returns instructions for a value that holds another twice, which holds another twice, and so on."""
    code = encode("start") + b"q\x00"
    for i in range(times):
        code += {"list": b"](h%ch%ce", "dict": b"}(K\x00h%cK\x01h%cu", "tuple": b"h%ch%c\x86"}[kind] % (i, i)
        code += b"q" + bytes([i + 1])
    return Raw(code)


def patch_directory(path, name, *, size=None, checksum=None, offset_of=None):
    """Changes what an archive's directory says of a member, here and in the member's own header."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        entry = opened.getinfo(name)
        other = offset_of and opened.getinfo(offset_of)
    place = data.index(b"PK\x01\x02")
    while data[place + 46 : place + 46 + len(name)] != name.encode():
        place = data.index(b"PK\x01\x02", place + 4)
    if size is not None:
        data[place + 24 : place + 28] = data[entry.header_offset + 22 : entry.header_offset + 26] = struct.pack(
            "<I", size
        )
    if checksum is not None:
        data[place + 16 : place + 20] = struct.pack("<I", checksum)
    if other is not None:
        data[place + 42 : place + 46] = struct.pack("<I", other.header_offset)
    path.write_bytes(data)
