"""PyTorch's `.pt`, `.ckpt` and `.torch` files, read without PyTorch and without running what they say.

A file is a zip archive (since PyTorch 1.6) with a pickle and one file of raw numbers for each storage. A pickle may
name any function to be called; here only those that rebuild a tensor or a plain container are known, anything else is
refused, as `torch.load(weights_only=True)` does.
"""

import collections
import io
import pathlib
import pickle
import struct
import zipfile
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from diffgs_jax.errors import DataError, UserError

_TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_PLAIN = {kind.__name__: kind for kind in (dict, list, tuple, set, frozenset, int, float, bool, str)}


class _Storage(NamedTuple):
    """A type of numbers that the pickle names."""

    type: np.dtype


class LeftOut:
    """Stands for an object that the reader was told to leave out: whatever is done to it does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "LeftOut":
        """Takes any arguments."""
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Takes any state."""

    def __setitem__(self, *_: Any) -> None:
        """Takes any item."""

    def append(self, _: Any) -> None:
        """Takes any item."""

    def extend(self, _: Any) -> None:
        """Takes any items."""


def load_torch(file: pathlib.Path, *, mapped: bool = False, leave_out: tuple[str, ...] = ()) -> Any:
    """Returns what `torch.save` wrote, with numpy arrays for tensors.

    Args:
        file: of PyTorch 1.6 or later, tensors of any device.
        mapped: do not read the numbers but map the file into memory, so that tensors nobody uses cost nothing. Their
            checksums are not looked at then.
        leave_out: modules, `omegaconf` for instance, whose objects become a `LeftOut` instead of an error. They are not
            made, nor are the modules imported.

    Raises:
        UserError: if there is no such file.
        DataError: if it is truncated, of another format, or holds anything but plain values and tensors.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            folders = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
            folder = next((folder for folder in folders if folder.count("/") == 1), None)
            if folder is None:
                raise DataError("a zip archive, but no file of torch.save")
            if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big":
                raise DataError("written by a big-endian machine, which is not supported")
            numbers = np.memmap(file, np.uint8, "r") if mapped else None
            return _Reader(archive, folder, numbers, leave_out).load()
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except Exception as error:  # a damaged archive or pickle raises many kinds
        with file.open("rb") as opened:
            start = opened.read(4)
        if start.startswith(b"\x80"):  # a bare pickle
            hint = "such files cannot be read safely: load and save it with a later PyTorch"
            raise DataError(f"{file} is from before PyTorch 1.6; {hint}") from None
        what = "is truncated" if start == b"PK\x03\x04" else "is truncated or no file of torch.save"
        raise DataError(f"{file} {what}: {type(error).__name__}: {error}") from None


class _Reader(pickle.Unpickler):
    """Rebuilds plain values and tensors, nothing else."""

    def __init__(
        self, archive: zipfile.ZipFile, folder: str, numbers: np.ndarray | None, leave_out: tuple[str, ...]
    ) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")), encoding="utf-8")
        self._archive, self._folder, self._numbers, self._leave_out = archive, folder, numbers, leave_out
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _rebuild
            case "torch._utils", "_rebuild_parameter":
                return _rebuild_parameter
            case "collections", "OrderedDict" | "defaultdict":
                return getattr(collections, name)
            case "builtins" | "__builtin__", name if name in _PLAIN:
                return _PLAIN[name]
            case "torch", "Size":
                return tuple
            case "torch", name if name in _TYPES:
                return _Storage(_TYPES[name])
        if module.split(".")[0] in self._leave_out and "." not in name:
            return LeftOut
        raise DataError(f"its pickle asks for {module}.{name}, which is no tensor and no plain value; it is not run")

    def persistent_load(self, reference: tuple[Any, ...]) -> np.ndarray:
        _, storage, key, _, count = reference
        if key not in self._storages:
            values = self._read(f"{self._folder}data/{key}").view(storage.type)
            if len(values) != count:
                raise DataError(f"storage {key} has {len(values)} numbers of {count}")
            self._storages[key] = values
        return self._storages[key]

    def _read(self, name: str) -> np.ndarray:
        """Returns the bytes of a member of the archive."""
        member = self._archive.getinfo(name)
        if self._numbers is None or member.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(self._archive.read(member), np.uint8)
        # A member is a header of 30 bytes, its name, an extra field, and then its bytes. The header says how long name
        # and extra field are; what the archive's directory says of the extra field is of another one.
        header = self._numbers[member.header_offset : member.header_offset + 30].tobytes()
        signature, lengths = header[:4], struct.unpack("<HH", header[26:30])
        start = member.header_offset + 30 + sum(lengths)
        if signature != b"PK\x03\x04" or start + member.file_size > len(self._numbers):
            raise DataError(f"truncated: {name} is not where its directory says")
        return self._numbers[start : start + member.file_size]


def _rebuild(storage: np.ndarray, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    reach = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
    if min((*shape, *stride, offset, 0)) < 0 or (0 not in shape and reach > len(storage)):
        raise DataError("a tensor reaches beyond its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def _rebuild_parameter(data: np.ndarray, *_: Any) -> np.ndarray:
    return data
