"""Files that lie: about where a tensor's numbers are, about sizes, and about what is to be done with them."""

import os
import resource
import time
import warnings
import zipfile

import numpy as np
import pytest
from torch_archives import (
    REBUILD,
    Call,
    Name,
    Raw,
    Storage,
    archive,
    doubled,
    encode,
    patch_directory,
    tensor,
)

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.weights import LeftOut, load_torch

INT8 = Name("torch", "int8")
PARAMETER = Name("torch._utils", "_rebuild_parameter")
TYPED = Name("torch._utils", "_rebuild_tensor_v3")
WIDE = tensor(shape=(2**40,), stride=(0,))
DEEP_TUPLE = Raw(b")" + b"\x85" * 50_000)


def refused(path, message, **options):
    """Expects one line, in a moment, in little memory."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(DataError, match=message) as caught:
        load_torch(path, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000  # kB


VIEWS = {
    "another tensor stands for a storage": Call(REBUILD, (WIDE, 2**20, (4,), (1,), False, None)),
    "a tensor in its bounds stands for a storage": Call(REBUILD, (tensor(), 0, (4,), (1,), False, None)),
    "a parameter stands for a storage": Call(
        REBUILD, (Call(PARAMETER, (tensor(), False, None)), 0, (4,), (1,), False, None)
    ),
    "a tensor stands for a storage of bytes": Call(TYPED, (tensor(), 0, (4,), (1,), False, None, INT8)),
    "a typed storage stands for one of bytes": Call(TYPED, (Storage(), 0, (4,), (1,), False, None, INT8)),
    "a storage of bytes stands for a typed one": tensor(Storage("UntypedStorage", "0", 16)),
    "a reference's tuple stands for a storage": Call(REBUILD, (("storage", "0"), 0, (4,), (1,), False, None)),
    "a dtype stands for a storage": tensor(Name("torch", "FloatStorage")),
    "an offset beyond": tensor(offset=1),
    "an offset beyond of an empty one": tensor(offset=5, shape=(0,)),
    "a size beyond": tensor(shape=(5,)),
    "a stride beyond": tensor(stride=(2,)),
    "axes that reach beyond together": tensor(shape=(2, 2), stride=(2, 2)),
    "a negative offset": tensor(offset=-1, shape=(1,)),
    "a negative size": tensor(shape=(-4,)),
    "a negative stride": tensor(offset=3, stride=(-1,)),
    "sizes whose product overflows": tensor(shape=(2**32, 2**32), stride=(0, 0)),
    "steps whose product overflows": tensor(shape=(2**31 + 1,), stride=(2**33,)),
    "integers of more than 64 bits": tensor(offset=2**64),
    "an empty axis beside a giant": tensor(shape=(0, 2**62), stride=(1, 1)),
    "one number, 2^40 times": WIDE,
    "more axes than there are": tensor(shape=(1,) * 70, stride=(1,) * 70),
    "fewer strides than axes": tensor(shape=(2, 2), stride=(1,)),
    "a list for a shape": tensor(shape=[4]),
    "text for an offset": tensor(offset="0"),
    "truth for an offset": tensor(offset=True, shape=(1,)),
    "a float for a size": tensor(shape=(4.0,)),
    "a lazy negation": tensor(changes=({"neg": True},)),
    "a parameter of no tensor": Call(PARAMETER, ((1, 2), False, None)),
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_no_view_leaves_its_storage(tmp_path, name, mapped):
    refused(archive(tmp_path / "a.pt", {"a": VIEWS[name]}), "a.pt: a (tensor|parameter)", mapped=mapped)


def test_views_up_to_the_last_number_are_read(tmp_path):
    storages = {"0": np.arange(4, dtype="<f4"), "bytes": np.arange(8, dtype="<u2")}
    views = {
        "end": tensor(offset=3, shape=(1,)),
        "crossed": tensor(shape=(2, 2), stride=(1, 2)),
        "expanded": tensor(offset=2, shape=(3, 5), stride=(0, 0)),
        "scalar": tensor(offset=1, shape=(), stride=()),
        "empty": tensor(offset=4, shape=(3, 0), stride=(1, 1)),
        "typed": Call(
            TYPED, (Storage("UntypedStorage", "bytes", 16), 1, (3,), (2,), False, None, Name("torch", "uint16"))
        ),
    }
    found = load_torch(archive(tmp_path / "a.pt", views, storages))
    expected = {
        "end": [3.0],
        "crossed": [[0.0, 2.0], [1.0, 3.0]],
        "expanded": [[2.0] * 5] * 3,
        "scalar": 1.0,
        "empty": np.zeros((3, 0)),
        "typed": [1, 3, 5],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
        assert not found[name].flags.writeable
    assert found["typed"].dtype == np.uint16


STRUCTURES = {
    "lists that double": (doubled("list"), "stands for more than"),
    "dictionaries that double": (doubled("dict"), "stands for more than"),
    "tuples that double": (doubled("tuple"), "stands for more than"),
    "text that doubles": (
        Raw(
            encode("x" * 100)
            + b"q\x00"
            + b"".join(b"c__builtin__\nstr\n](h%ch%ce\x85Rq%c" % (i, i, i + 1) for i in range(100))
        ),
        "converts a value",
    ),
    "a list that holds itself": (Raw(b"]q\x00h\x00a"), "holds itself"),
    "a dictionary that holds itself, far inside": (Raw(b"}q\x00" + encode("a") + b"](]h\x00aes"), "holds itself"),
    "lists 50,000 deep": (Raw(b"]" * 50_001 + b"a" * 50_000), "nested more than"),
    "lists 70 deep": (Raw(b"]" * 71 + b"a" * 70), "nested more than"),
    "tuples 50,000 deep": (DEEP_TUPLE, "nested more than"),
    "a deep tuple for a key": (Raw(b"}" + DEEP_TUPLE + b"K\x01s"), "for a key"),
    "a deep tuple in a set": (Raw(b"c__builtin__\nset\n](" + DEEP_TUPLE + b"e\x85R"), "for a key"),
    "long integers of one hash for keys": (
        Raw(b"}(" + b"".join(encode(i * (2**61 - 1)) + b"N" for i in range(1, 100)) + b"u"),
        "for a key",
    ),
    "120,000 values": (Raw(b"](" + b"N" * 120_000 + b"e"), "more than 110000 instructions"),
    "copies of a long list": (
        Raw(b"](" + b"N" * 10_000 + b"eq\x000" + b"c__builtin__\nset\nq\x010" + b"h\x01h\x00\x85R0" * 12 + b"N"),
        "more than 110000 instructions",
    ),
    "calls with many arguments": (Raw(b"ctorch\nSize\n(" + b"N" * 1000 + b"tR"), "calls a name"),
    "a call of a value": (Raw(encode([1]) + b")R"), "calls a list"),
    "a call of a tensor": (Call(tensor(), (1,)), "calls a ndarray"),
    "the state of a tensor": (
        Raw(encode(tensor()) + encode((1, (2**40,), None, False, "x")) + b"b"),
        "sets the state of",
    ),
    "the state of a type": (Raw(encode(Name("torch", "float32")) + encode((3,)) + b"b"), "sets the state of"),
    "items of a tensor": (Raw(encode(tensor()) + b"K\x00K\x01s"), "sets items of"),
    "items of a tuple": (Raw(b")K\x01a"), "appends to"),
    "a bare storage": (Storage(), "holds _Storage"),
    "another reference": (Raw(encode(("module", "x")) + b"Q"), "refers to something that is no storage"),
    "a code object": (Name("types", "CodeType"), "asks for types.CodeType"),
    "an attribute of a type": (Name("builtins", "str.format"), "asks for builtins.str.format"),
    "an eval": (Call(Name("builtins", "eval"), ("1",)), "asks for builtins.eval"),
    "a getattr": (Name("builtins", "getattr"), "asks for builtins.getattr"),
    "a name with a line break and a NUL": (Raw(b"\x8c\x04a\nb\x00\x8c\x01x\x93"), "asks for a.b.\\.x"),
    "an extension of copyreg": (Raw(b"\x82\x01"), "the instruction EXT1"),
    "an instance of protocol 0": (Raw(b"(ios\nsystem\n"), "the instruction INST"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_that_never_end_are_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr("diffgs_jax.weights._pickle_values._STEPS", 110_000)  # the checks of types here take their time
    value, message = STRUCTURES[name]
    refused(archive(tmp_path / "a.pt", value), f"a.pt: its pickle .*{message}")


PICKLES = {
    "no end": b"\x80\x02}",
    "nothing": b"",
    "an empty stack": b"\x80\x02.",
    "an unknown instruction": b"\x80\x02\xff.",
    "a memory of two billion": b"\x80\x02Nr\xff\xff\xff\x7fj\xff\xff\xff\x7e.",
    "a place never filled": b"\x80\x02h\x07.",
    "bytes of 2^60": b"\x80\x04\x8e" + (2**60).to_bytes(8, "little") + b"x.",
    "text of 4 GB": b"\x80\x02X\xff\xff\xff\xff.",
    "a frame of 2^62": b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"X.",
    "a mark never set": b"\x80\x02t.",
    "a tuple of nothing": b"\x80\x02\x87.",
    "a key alone": b"\x80\x02}(K\x01u.",
    "half a letter": b"\x80\x02X\x01\x00\x00\x00\xff.",
    "an integer of 5000 digits": b"\x80\x02I" + b"9" * 5000 + b"\n.",
    "an integer of 10,000 bits": b"\x80\x02\x8b" + (1250).to_bytes(4, "little") + b"\x7f" * 1250 + b".",
    "a negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "a name that is a number": b"\x80\x04K\x01K\x02\x93.",
    "wrong arguments": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "pairs of an OrderedDict": b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
    "text of a set": b"\x80\x02c__builtin__\nset\nU\x02ab\x85R.",
}


@pytest.mark.parametrize("name", PICKLES)
def test_damaged_pickles_are_one_line(tmp_path, name):
    refused(archive(tmp_path / "a.pt", PICKLES[name]), "a.pt: (its pickle|an OrderedDict|a set)")


def test_shared_values_and_what_is_left_out_stay_readable(tmp_path):
    shared = Raw(encode([1]) + b"q\x05")
    left = Raw(b"comegaconf\nListConfig\n)\x81}" + encode("a") + b"K\x01sb")
    value = load_torch(archive(tmp_path / "a.pt", [shared, Raw(b"h\x05"), left]), leave_out=("omegaconf",))
    assert value[:2] == [[1], [1]] and value[0] is value[1] and type(value[2]) is LeftOut


def test_storages_that_lie_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    two = {"a": tensor(), "b": tensor(Storage("IntStorage"))}
    refused(archive(path, two), "storage 0 is named with two types")
    refused(
        archive(path, [tensor(), tensor(Storage(count=3), shape=(3,))]), "storage 0 is named with two types or sizes"
    )
    refused(archive(path, tensor(Storage(count=5))), "storage 0 has 16 bytes where 20 are announced")
    refused(archive(path, tensor(Storage(count=2**61))), "storage 0 has 16 bytes")
    refused(archive(path, tensor(Storage(count=3))), "has 16 bytes where 12 bytes are announced")
    refused(archive(path, tensor(Storage(count=-1))), "refers to something that is no storage")
    refused(archive(path, tensor(Storage(key="../data.pkl"))), r"has no member archive/data/\.\./data.pkl")
    refused(archive(path, tensor(Storage("BoolStorage")), {"0": b"\0\1\2\1"}), "truth values other than 0 and 1")
    refused(archive(path, tensor(Storage("QInt8Storage"))), "asks for torch.QInt8Storage")


def test_archives_that_lie_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        archive(path, tensor(), {"0": np.ones(4, "<f4"), "1": bytes(16)})
        with zipfile.ZipFile(path, "a") as opened:
            opened.writestr("archive/data/0", bytes(16))
    refused(path, "two members named archive/data/0")
    for mapped in (False, True):
        archive(path, tensor(), {"0": np.ones(4, "<f4"), "1": bytes(16)})
        patch_directory(path, "archive/data/1", offset_of="archive/data/0")
        refused(path, "share bytes", mapped=mapped)
        archive(path, tensor())
        patch_directory(path, "archive/data/0", size=2**31)
        refused(path, "has 2.15 GB where 16 bytes are announced", mapped=mapped)
        archive(path, tensor())
        patch_directory(path, "archive/data.pkl", size=2**31)
        refused(path, "a.pt", mapped=mapped)
        archive(path, tensor())
        content = bytearray(path.read_bytes())
        content[content.index(np.arange(4, dtype="<f4").tobytes()) + 6] ^= 1
        path.write_bytes(content)
        refused(path, "does not have the checksum", mapped=mapped)
    patch_directory(path, "archive/data/0", checksum=0)  # as torch.serialization.set_crc32_options(False) leaves it
    assert load_torch(path)[1] == np.frombuffer(b"\0\0\x81\x3f", "<f4")


def packed(path, pickled, storage, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr("archive/data.pkl", pickled)
        opened.writestr("archive/data/0", storage)
    return path


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    many = 2**26 + 1
    whole = b"\x80\x02" + encode(tensor(Storage("ByteStorage", count=many), shape=(4,))) + b"."
    path = packed(tmp_path / "a.pt", whole, bytes(many))
    assert path.stat().st_size < 100_000
    refused(path, "unpack to far more than its size")
    refused(
        packed(path, b"\x80\x02" + b"N0" * 2**25 + b"N.", b""), "has 67.1 MB where 67.1 MB are announced|instructions"
    )
    small = b"\x80\x02" + encode(tensor()) + b"."
    refused(packed(path, small, np.arange(4, dtype="<f4").tobytes(), zipfile.ZIP_LZMA), "other than deflate")
    # A member that unpacks to more than its directory says.
    packed(path, small, bytes(2**26))
    patch_directory(path, "archive/data/0", size=16)
    refused(path, "damaged: Bad CRC-32")


def test_a_directory_without_end_is_refused(tmp_path):
    path = archive(tmp_path / "a.pt", tensor())
    content = path.read_bytes()
    end = content.index(b"PK\5\6")
    entry = b"PK\1\2" + bytes(42)
    directory = entry * 500_000
    tail = content[end : end + 12] + len(directory).to_bytes(4, "little") + (0).to_bytes(4, "little") + b"\0\0"
    path.write_bytes(b"PK\3\4" + directory + tail)
    refused(path, "its directory takes 23 MB")


def test_what_is_no_file_is_told_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in {
        "pipe": "it is a pipe",
        "": "it is a folder",
        "loop": "symbolic links",
        "x" * 300: "too long",
    }.items():
        with pytest.raises(UserError, match=message):
            load_torch(tmp_path / name)
    with pytest.raises(UserError, match="no file can have such a name"):
        load_torch(tmp_path / "a\0b")
