"""PyTorch's `.pt`, `.ckpt` and `.torch` files, read without PyTorch and without running what they say.

A file is a zip archive (since PyTorch 1.6) with a pickle and one file of raw numbers for each storage. A pickle may
name any function to be called; here only those that rebuild a tensor or a plain container are known, anything else is
refused, as `torch.load(weights_only=True)` does. A tensor is a view of one storage and of nothing else: every view is
held against the bytes that the archive has for it.
"""

import collections
import math
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import open_regular, open_zip, shown
from diffgs_jax.weights._pickle_values import LARGEST_PICKLE, Callback, LeftOut, as_key, read_pickle
from diffgs_jax.weights._zip_members import Members

_TYPES: dict[str, np.dtype] = {
    **{name: np.dtype(name).newbyteorder("<") for name in ("float32", "float64", "float16", "complex64", "complex128")},
    **{name: np.dtype(name).newbyteorder("<") for name in ("int64", "int32", "int16", "int8")},
    **{name: np.dtype(name).newbyteorder("<") for name in ("uint64", "uint32", "uint16", "uint8", "bool")},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "float8_e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
}
_STORAGES = {
    **{"FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8"},
    **{"ByteStorage": "uint8", "BoolStorage": "bool"},
    **{"ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128"},
}
_DIMENSIONS = 32  # axes of a tensor
_EXPANDED = 2**24  # numbers of a tensor that has more of them than its storage
_LEAST_UNPACKED = 64 * 2**20  # bytes that a packed archive may unpack to, whatever its size
_RATIO = 8  # bytes that each byte of a larger one may unpack to


class _Kind(NamedTuple):
    """A type of storage that the pickle names; without a type of numbers it is one of bytes."""

    type: np.dtype | None


class _Storage(NamedTuple):
    """Numbers of the archive. Only `_Reader.storage` makes one, so nothing that a pickle builds can stand for it."""

    numbers: np.ndarray
    has_type: bool


def load_torch(file: pathlib.Path, *, mapped: bool = False, leave_out: tuple[str, ...] = ()) -> Any:
    """Returns what `torch.save` wrote, with numpy arrays for tensors that cannot be written to.

    Memory: at most some 500 MB for the pickle, whatever it says, and the file's size for the numbers, or nothing if
    they are mapped. An archive that was packed anew may unpack to 64 MiB or 8 times its size. A tensor may have more
    numbers than its storage (one that was expanded), up to 16 million.

    Args:
        file: of PyTorch 1.6 or later, tensors of any device.
        mapped: do not read the numbers but map the file into memory, so that unused tensors take no memory. Their
            checksums are compared all the same, which reads the file once.
        leave_out: modules, `omegaconf` for instance, whose objects become a `LeftOut` instead of an error. They are not
            made, nor are the modules imported.

    Raises:
        UserError: if there is no such file, or it cannot be read.
        DataError: if it is truncated, damaged, of another format, or holds anything but plain values and tensors that
            lie inside their storages.
    """
    with open_regular(file) as opened:
        start = opened.read(4)
        if start.startswith(b"\x80"):  # a bare pickle
            hint = "such files cannot be read safely: load and save it with a later PyTorch"
            raise DataError(f"{shown(file)} is from before PyTorch 1.6; {hint}")
        if start != b"PK\x03\x04":
            raise DataError(f"{shown(file)} is truncated or no file of torch.save")
        with open_zip(opened, shown(file)) as archive:
            try:
                return _load(archive, opened, mapped, leave_out)
            except DataError as error:
                raise DataError(f"{shown(file)}: {error}") from None


def _load(archive: zipfile.ZipFile, opened: BinaryIO, mapped: bool, leave_out: tuple[str, ...]) -> Any:
    members = Members(archive, opened, mapped=mapped, least_unpacked=_LEAST_UNPACKED, ratio=_RATIO)
    folders = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
    folders = [folder for folder in folders if folder.count("/") == 1]
    if len(folders) != 1:
        raise DataError("a zip archive, but no file of torch.save")
    order = f"{folders[0]}byteorder"
    if order in archive.namelist() and bytes(members.read(order, 16)) != b"little":
        raise DataError("written by a big-endian machine, which is not supported")
    reader = _Reader(members, folders[0], leave_out)
    pickled = bytes(members.read(f"{folders[0]}data.pkl", LARGEST_PICKLE))
    return read_pickle(pickled, find=reader.find, load=reader.storage, leaves=(np.ndarray,))


class _Reader:
    """Says what names and references of the pickle mean."""

    def __init__(self, members: Members, folder: str, leave_out: tuple[str, ...]) -> None:
        self._members, self._folder, self._leave_out = members, folder, leave_out
        self._storages: dict[str, tuple[_Kind, int, _Storage]] = {}

    def find(self, module: str, name: str) -> Any:
        if (module, name) in _CALLS:
            return _CALLS[module, name]
        match module, name:
            case "builtins" | "__builtin__", "dict" | "list" | "tuple" | "int" | "float" | "bool" | "str":
                return Callback(_refuse_conversion)  # named as the type of something, and never called
            case "torch", name if name in _STORAGES:
                return _Kind(_TYPES[_STORAGES[name]])
            case "torch.storage", "UntypedStorage":
                return _Kind(None)
            case "torch", name if name in _TYPES:
                return _TYPES[name]
        if module.split(".")[0] in self._leave_out and "." not in name:
            return LeftOut()
        place = shown(f"{module}.{name}")
        raise DataError(f"its pickle asks for {place}, which is no tensor and no plain value; it is not run")

    def storage(self, reference: Any) -> _Storage:
        """Returns the numbers that a reference ("storage", kind, key, device, count) names."""
        match reference:
            case ("storage", _Kind() as kind, str(key), str(), int(count)) if count >= 0:
                pass
            case _:
                raise DataError("its pickle refers to something that is no storage")
        if key in self._storages:
            first_kind, first_count, storage = self._storages[key]
            if (kind, count) != (first_kind, first_count):
                raise DataError(f"storage {shown(key)} is named with two types or sizes")
            return storage
        type_ = kind.type or np.dtype(np.uint8)
        data = self._members.read(f"{self._folder}data/{key}", count * type_.itemsize)
        if len(data) != count * type_.itemsize:
            raise DataError(f"storage {shown(key)} has {len(data)} bytes where {count * type_.itemsize} are announced")
        if type_ == np.bool_ and (data > 1).any():
            raise DataError(f"storage {shown(key)} has truth values other than 0 and 1")
        storage = _Storage(data.view(type_), kind.type is not None)
        self._storages[key] = kind, count, storage
        return storage


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, _: Any, __: Any, changes: Any = None) -> np.ndarray:
    """Returns the tensor of `torch._utils._rebuild_tensor_v2`, a view of its storage."""
    if type(storage) is not _Storage or not storage.has_type:
        raise DataError("a tensor is made of something that is no storage")
    if changes:  # a negation or conjugation that was put off
        raise DataError("a tensor is a lazily negated or conjugated one, which cannot be read")
    return _view(storage.numbers, offset, shape, stride)


def _rebuild_typed(
    storage: Any, offset: Any, shape: Any, stride: Any, _: Any, __: Any, type_: Any, changes: Any = None
) -> np.ndarray:
    """Returns the tensor of `torch._utils._rebuild_tensor_v3`, whose storage is one of bytes."""
    if type(storage) is not _Storage or storage.has_type or not isinstance(type_, np.dtype):
        raise DataError("a tensor is made of something that is no storage")
    if changes or len(storage.numbers) % type_.itemsize:
        raise DataError("a tensor is lazily negated, or its storage holds a part of a number")
    return _view(storage.numbers.view(type_), offset, shape, stride)


def _view(numbers: np.ndarray, offset: Any, shape: Any, stride: Any) -> np.ndarray:
    """Returns a view of a storage, after its farthest number was held against the storage's size."""
    if type(shape) is not tuple or type(stride) is not tuple or len(shape) != len(stride) or len(shape) > _DIMENSIONS:
        raise DataError("a tensor's shape and strides are no tuples of one length")
    if any(type(value) is not int or value < 0 for value in (offset, *shape, *stride)):
        raise DataError("a tensor's offset, shape or strides are no whole numbers of 0 or more")
    sizes, steps = [int(size) for size in shape], [int(step) for step in stride]
    reach = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True)) + 1
    if (offset if 0 in shape else reach) > len(numbers):
        raise DataError("a tensor reaches beyond its storage")
    if math.prod(max(size, 1) for size in sizes) > max(len(numbers), _EXPANDED):
        raise DataError(f"a tensor of shape {shown(str(shape))} is far larger than its storage of {len(numbers)}")
    if 0 in shape:
        return numbers[:0].reshape(shape)
    # numpy holds the view against the buffer once more.
    jumps = [step * numbers.itemsize for step in steps]
    return np.ndarray(shape, numbers.dtype, numbers, offset * numbers.itemsize, jumps)


def _rebuild_parameter(data: Any, _: Any, __: Any) -> np.ndarray:
    if not isinstance(data, np.ndarray):
        raise DataError("a parameter is made of something that is no tensor")
    return data


def _size(items: Any) -> tuple[int, ...]:
    """Returns a `torch.Size`."""
    if type(items) is not tuple or len(items) > _DIMENSIONS or any(type(item) is not int for item in items):
        raise DataError("a torch.Size is made of something else than integers")
    return items


def _ordered(*items: Any) -> dict[Any, Any]:
    if items:
        raise DataError("an OrderedDict is made of something else than its items one by one")
    return collections.OrderedDict()


def _set_of(kind: type) -> Callable[[Any], Any]:
    def make(items: Any) -> Any:
        if type(items) is not list:
            raise DataError("a set is made of something else than a list")
        return kind(map(as_key, items))

    return make


def _refuse_conversion(*_: Any) -> Any:
    raise DataError("its pickle converts a value to another type; it is not run")


_CALLS = {
    ("torch._utils", "_rebuild_tensor_v2"): Callback(_rebuild),
    ("torch._utils", "_rebuild_tensor_v3"): Callback(_rebuild_typed),
    ("torch._utils", "_rebuild_parameter"): Callback(_rebuild_parameter),
    ("torch", "Size"): Callback(_size),
    ("collections", "OrderedDict"): Callback(_ordered),
    ("collections", "defaultdict"): Callback(lambda *_: {}),  # what it makes for missing keys is code
    **{(module, "set"): Callback(_set_of(set)) for module in ("builtins", "__builtin__")},
    **{(module, "frozenset"): Callback(_set_of(frozenset)) for module in ("builtins", "__builtin__")},
}
