"""Published state dicts to nested dictionaries of parameters, and back.

A parameter's published name is its own path with pieces replaced; its array is the published one with the axes turned
from PyTorch's order (outputs first) to Flax's (outputs last). What Flax stacks along a leading axis exists once for
each layer in a state dict, with its number where the name has `{i}`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import shown
from diffgs_jax.weights.tensors import Tensors

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
_LEAVES |= {"offset": "offset", "table": "table"}
_SHOWN = 4  # problems of each kind in a message


Path = tuple[str, ...]
"""Where a parameter is in a nested dictionary."""


class Naming(NamedTuple):
    """How a network's parameters are called in state dicts.

    Attributes:
        replacements: regular expressions and what takes their place, applied in this order to the dotted path of a
            module (without `kernel`, `scale`, `embedding` or `bias` at its end).
        pointwise: matches the published names of the modules that are 1×1 convolutions there and products here.
        left_out: matches published tensors that are no parameters, tied copies for instance.
    """

    replacements: Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
    pointwise: str = "$^"
    left_out: str = "$^"

    def published(self, path: Sequence[str]) -> str:
        """Returns the published name of a parameter, with `{i}` where its layer's number goes."""
        name = ".".join(path[:-1])
        for pattern, replacement in self.replacements:
            name = re.sub(pattern, replacement, name)
        return f"{name}.{_LEAVES[path[-1]]}"


class _Expected(NamedTuple):
    path: Path
    shape: tuple[int, ...]  # of our array, without the layers' axis
    names: list[str]  # of the tensors it is made of
    stacked: bool


def read_params(
    shapes: Mapping[str, Any],
    naming: Naming,
    tensors: Tensors,
    *,
    dtype: Any = np.float32,
    part: Path = (),
    layer: int | None = None,
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields parameters and their paths, each read when it is its turn.

    Args:
        shapes: nested dictionary with an object of every parameter's `shape`.
        naming: of the network.
        tensors: the state dict. Names and shapes of all are checked before the first is yielded.
        dtype: of the arrays, which have memory of their own.
        part: yield only what is below this path.
        layer: yield only what is stacked, of this layer and without the layers' axis.

    Raises:
        DataError: listing tensors that are missing, unknown or of another shape; or one that is not finite.
    """
    expected = list(_expected(shapes, naming))
    _check(expected, naming, tensors)

    def convert(name: str, one: _Expected) -> np.ndarray:
        array = np.asarray(tensors[name])
        if not np.isfinite(array.astype(np.float32, copy=False)).all():
            raise DataError(f"{tensors.source}: {shown(name)} is not finite")
        return np.array(_to_ours(array, one.path[-1], len(one.shape)), dtype, order="C")

    for one in expected:
        if one.path[: len(part)] != part:
            continue
        if layer is not None:
            if one.stacked:
                yield one.path, convert(one.names[layer], one)
        elif one.stacked:
            whole = np.empty((len(one.names), *one.shape), dtype)
            for number, name in enumerate(one.names):
                whole[number] = convert(name, one)
            yield one.path, whole
        else:
            yield one.path, convert(one.names[0], one)


def nested(items: Iterable[tuple[Path, Any]]) -> dict[str, Any]:
    """Returns the nested dictionary of paths and what is there."""
    params: dict[str, Any] = {}
    for path, value in items:
        place = params
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return params


def write_params(params: Mapping[str, Any], naming: Naming) -> Iterator[tuple[str, np.ndarray]]:
    """Yields a state dict, tensor by tensor: the inverse of `read_params`."""
    for path, value in _leaves(params):
        name, array = naming.published(path), np.asarray(value)
        for number, one in enumerate(array if "{i}" in name else array[None]):
            published = name.replace("{i}", str(number))
            is_kernel = path[-1] == "kernel"
            if is_kernel:
                one = one.T if one.ndim == 2 else one.transpose(3, 2, 0, 1)
            if is_kernel and one.ndim == 2 and re.search(naming.pointwise, published.rpartition(".")[0]):
                one = one[:, :, None, None]
            yield published, np.ascontiguousarray(one)


def _leaves(tree: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _expected(shapes: Mapping[str, Any], naming: Naming) -> Iterator[_Expected]:
    for path, leaf in _leaves(shapes):
        name, shape = naming.published(path), tuple(leaf.shape)
        if "{i}" in name:
            yield _Expected(path, shape[1:], [name.replace("{i}", str(i)) for i in range(shape[0])], True)
        else:
            yield _Expected(path, shape, [name], False)


def _published_shapes(part: _Expected) -> list[tuple[int, ...]]:
    """Returns the shapes that a published tensor may have."""
    if part.path[-1] != "kernel":
        return [part.shape]
    *window, inputs, outputs = part.shape
    return [(outputs, inputs, *window)] + ([] if window else [(outputs, inputs, 1, 1)])


def _to_ours(array: np.ndarray, leaf: str, rank: int) -> np.ndarray:
    if leaf != "kernel":
        return array
    if rank == 2:
        return array.reshape(array.shape[:2]).T
    return array.transpose(2, 3, 1, 0)


def _check(expected: Sequence[_Expected], naming: Naming, tensors: Tensors) -> None:
    wanted = {name: _published_shapes(part) for part in expected for name in part.names}
    unknown = [name for name in tensors if name not in wanted and not re.search(naming.left_out, name)]
    missing = [name for name in wanted if name not in tensors]
    misshapen = [
        f"{shown(name)} has shape {tensors.shapes[name]} instead of {allowed[0]}"
        for name, allowed in wanted.items()
        if name in tensors and tensors.shapes[name] not in allowed
    ]
    problems = _some("is missing", [shown(name) for name in missing])
    problems += _some("is unknown", [shown(name) for name in unknown]) + _some("", misshapen)
    if problems:
        raise DataError(f"{tensors.source} does not fit: {'; '.join(problems)}")


def _some(problem: str, names: list[str]) -> list[str]:
    more = [f"and {len(names) - _SHOWN} more like it"] if len(names) > _SHOWN else []
    return [f"{name} {problem}".strip() for name in names[:_SHOWN]] + more
