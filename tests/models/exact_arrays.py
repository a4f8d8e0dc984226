"""Golden files whose weights are exact in bfloat16 and stored as two bytes (tests/golden/README.md)."""

import json

import numpy as np


def load_exact(path):
    """Returns all arrays of a file, those that are stored as two bytes as float32."""
    with np.load(path) as file:
        arrays = dict(file)
    index = json.loads(str(arrays.pop("exact/index")))
    high, low = (arrays.pop(f"exact/{half}").astype(np.uint32) for half in ("high", "low"))
    numbers = ((high << 24) | (low << 16)).view(np.float32)
    start = 0
    for name, shape in index.items():
        size = int(np.prod(shape))
        arrays[name] = numbers[start : start + size].reshape(shape)
        start += size
    assert start == len(numbers)
    return arrays


def under(arrays, prefix):
    """Returns the arrays whose names begin so, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def error(found, expected):
    """Returns the largest difference, relative to the largest value expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()
