"""PyTorch's `.torch`/`.pt` files of plain values and tensors, read without PyTorch and without running what they say.

A file is a zip archive (since PyTorch 1.6) with a pickle and one file of raw numbers for each storage. A pickle may
name any function to be called; here only those that rebuild a tensor are known, anything else is refused, as
`torch.load(weights_only=True)` does.
"""

import collections
import io
import pathlib
import pickle
import zipfile
from typing import Any, NamedTuple

import numpy as np

from diffgs_jax.errors import DataError

_TYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Storage(NamedTuple):
    """A type of numbers that the pickle names."""

    type: str


def load_torch(file: pathlib.Path) -> Any:
    """Returns what `torch.save` wrote, with numpy arrays for tensors.

    Args:
        file: of PyTorch 1.6 or later, CPU tensors.

    Raises:
        DataError: if it is truncated, of another format, or holds anything but plain values and tensors.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (pickled,) = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            return _Reader(archive, pickled.removesuffix("data.pkl")).load()
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except Exception as error:  # a damaged archive or pickle raises many kinds
        raise DataError(f"{file} is truncated or no file of torch.save: {type(error).__name__}: {error}") from None


class _Reader(pickle.Unpickler):
    """Rebuilds plain values and tensors, nothing else."""

    def __init__(self, archive: zipfile.ZipFile, folder: str):
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")), encoding="utf-8")
        self._archive, self._folder = archive, folder
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _rebuild
            case "collections", "OrderedDict":
                return collections.OrderedDict
            case "torch", name if name in _TYPES:
                return _Storage(_TYPES[name])
        raise DataError(f"its pickle asks for {module}.{name}, which a dataset does not need; it is not run")

    def persistent_load(self, reference: tuple[Any, ...]) -> np.ndarray:
        _, storage, key, _, count = reference
        if key not in self._storages:
            values = np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), storage.type)
            if len(values) != count:
                raise DataError(f"storage {key} has {len(values)} numbers of {count}")
            self._storages[key] = values
        return self._storages[key]


def _rebuild(storage: np.ndarray, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    reach = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
    if min((*shape, *stride, offset, 0)) < 0 or (0 not in shape and reach > len(storage)):
        raise DataError("a tensor reaches beyond its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
