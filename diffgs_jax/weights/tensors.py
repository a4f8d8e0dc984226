"""Weights in folders, one tensor at a time: `.safetensors` files, whole or in shards, and torch's `.bin`.

A tensor is read when it is asked for and its file is closed behind it, so that a network that is larger than the memory
can be converted or run in parts.
"""

import importlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import json_object, load_json, one_line, shown
from diffgs_jax.weights.torch_file import load_torch

_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


class _Place(NamedTuple):
    file: pathlib.Path
    shape: tuple[int, ...]


class Tensors:
    """Tensors by their published names, each read when it is asked for.

    Args:
        shapes: of all tensors.
        read: returns one.
        source: what they are called in messages.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], np.ndarray], source: str) -> None:
        self.shapes, self._read, self.source = shapes, read, source

    def __getitem__(self, name: str) -> np.ndarray:
        """Reads a tensor.

        Raises:
            KeyError: if there is none of that name.
            DataError: if it cannot be read, or is no array of floats.
        """
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def tensors_of(arrays: Mapping[str, np.ndarray], source: str = "the state dict") -> Tensors:
    """Returns arrays that are in memory as `Tensors`."""
    return Tensors({name: tuple(array.shape) for name, array in arrays.items()}, arrays.__getitem__, source)


def open_tensors(path: pathlib.Path, *, variant: str = "") -> Tensors:
    """Finds the weights in a folder of a published model, or in one file.

    Args:
        path: a `.safetensors` file, a torch file, or a folder with `diffusion_pytorch_model.safetensors`,
            `model.safetensors`, shards of either with their `.index.json`, or the same as `.bin`.
        variant: `fp16` for `model.fp16.safetensors` and the like, where a folder has both.

    Raises:
        UserError: if there is no such file, or a package is missing that reads it.
        DataError: if it holds no weights, a shard is missing, or a file is damaged.
    """
    if path.is_file():
        return _open_file(path)
    if not path.is_dir():
        raise UserError(f"there is no file or folder {shown(path)}")
    middle = f".{variant}" if variant else ""
    for stem in _STEMS:
        for ending in ("safetensors", "bin"):
            index = path / f"{stem}.{ending}.index{middle}.json"
            for index in (path / f"{stem}.{ending}.index{middle}.json", path / f"{stem}{middle}.{ending}.index.json"):
                if index.is_file():
                    return _open_shards(index)
            if (file := path / f"{stem}{middle}.{ending}").is_file():
                return _open_file(file)
    others = sorted(file.name for file in path.glob("*.safetensors"))
    hint = f"; it has {', '.join(map(shown, others[:3]))}" if others else "; was it downloaded whole?"
    raise DataError(f"{shown(path)} has no model{middle}.safetensors and no diffusion_pytorch_model{middle}{hint}")


def _open_shards(index: pathlib.Path) -> Tensors:
    contents = json_object(load_json(index), shown(index))
    files = contents.get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise DataError(f"{shown(index)} is no index of shards: it has no weight_map")
    if any(pathlib.Path(file).name != file for file in files.values()):
        raise DataError(f"{shown(index)} names shards outside of its folder")
    missing = sorted({file for file in files.values() if not (index.parent / file).is_file()})
    if missing:
        raise DataError(f"{shown(index.parent)} is not whole: {', '.join(map(shown, missing))} of its index is missing")
    shards = {file: _open_file(index.parent / file) for file in sorted(set(files.values()))}
    absent = [name for name, file in files.items() if name not in shards[file].shapes]
    if absent:
        raise DataError(f"{shown(index)}: {shown(absent[0])} is not in the shard that it names")
    shapes = {name: shards[file].shapes[name] for name, file in files.items()}
    return Tensors(shapes, lambda name: shards[files[name]][name], shown(index.parent))


def _open_file(file: pathlib.Path) -> Tensors:
    if file.suffix == ".safetensors":
        return _open_safetensors(file)
    loaded = load_torch(file, mapped=True)
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict):
        raise DataError(f"{shown(file)} holds no tensors by name")
    arrays = {name: array for name, array in loaded.items() if isinstance(name, str) and isinstance(array, np.ndarray)}
    return tensors_of(arrays, shown(file))


def _open_safetensors(file: pathlib.Path) -> Tensors:
    try:
        safetensors = importlib.import_module("safetensors")
    except ImportError:
        raise UserError('.safetensors files need a package: pip install "diffgs_jax[import]"') from None

    def use(action: Callable[[Any], Any]) -> Any:
        # Opened anew each time: the file is mapped, and pages that were read count as memory until it is closed.
        try:
            with safetensors.safe_open(file, framework="numpy") as opened:
                return action(opened)
        except (safetensors.SafetensorError, TypeError, OSError) as error:
            raise DataError(f"{shown(file)} is truncated or no .safetensors file: {one_line(error)}") from None

    def read(name: str) -> np.ndarray:
        kind = use(lambda opened: opened.get_slice(name).get_dtype())
        if kind not in _FLOATS:
            raise DataError(
                f"{shown(file)}: {shown(name)} is {shown(kind)}, which is no type of weights that can be read without "
                f"scales"
            )
        return use(lambda opened: opened.get_tensor(name))

    shapes = use(lambda opened: {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()})
    return Tensors(shapes, read, shown(file))
