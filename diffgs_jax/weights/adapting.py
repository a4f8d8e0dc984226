"""State dicts seen as others: tensors renamed, joined, parted or changed when they are read."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from diffgs_jax.weights.tensors import Tensors


class Adapted(NamedTuple):
    """A tensor that is made of others.

    Attributes:
        sources: their names.
        shape: of what is made.
        make: makes it of them, in that order.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    make: Callable[..., np.ndarray]


def adapt(tensors: Tensors, changes: Mapping[str, Adapted]) -> Tensors:
    """Returns the state dict with the given tensors in place of those that they are made of.

    Args:
        tensors: the state dict.
        changes: what is made, by its name. One whose sources are not all there is left out, and they stay.
    """
    possible = {
        name: change for name, change in changes.items() if all(source in tensors.shapes for source in change.sources)
    }
    used = {source for change in possible.values() for source in change.sources}
    shapes = {name: shape for name, shape in tensors.shapes.items() if name not in used}
    shapes |= {name: change.shape for name, change in possible.items()}

    def read(name: str) -> np.ndarray:
        if name not in possible:
            return tensors[name]
        change = possible[name]
        return change.make(*(tensors[source] for source in change.sources))

    return Tensors(shapes, read, tensors.source)


def below(tensors: Tensors, prefix: str) -> Tensors:
    """Returns the tensors whose names begin with a prefix, without it; the others are left out."""
    shapes = {name.removeprefix(prefix): shape for name, shape in tensors.shapes.items() if name.startswith(prefix)}
    return Tensors(shapes, lambda name: tensors[prefix + name], tensors.source)
