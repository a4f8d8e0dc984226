"""Checkpoints that are written array by array."""

import weakref

import jax
import numpy as np
import pytest

from diffgs_jax.checkpoints import load_weights, read_metadata, save_streamed
from diffgs_jax.checkpoints.digests import verify_digests
from diffgs_jax.errors import UserError

SHAPES = {"b": {"kernel": (4, 3), "bias": (3,)}, "a": {"kernel": (2, 2, 5)}, "c": {"scale": ()}}


def shapes():
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, np.float32), SHAPES, is_leaf=lambda leaf: isinstance(leaf, tuple)
    )


def value(path):
    shape = SHAPES[path[0]][path[1]]
    return np.random.default_rng(len(path[0] + path[1])).random(shape, np.float32)


def test_arrays_are_made_one_after_another_and_read_back(tmp_path):
    alive, most, asked = weakref.WeakSet(), [], []

    class Tracked(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__

    def read(path):
        asked.append(path)
        array = value(path).view(Tracked)
        alive.add(array)
        most.append(len(alive))
        return array

    metadata = {"config": {"model": {"kind": "x"}}, "counters": {}}
    save_streamed(tmp_path / "saved", 3, shapes(), read, metadata)
    assert sorted(asked) == sorted((a, b) for a, inner in SHAPES.items() for b in inner)
    assert max(most) <= 2
    assert read_metadata(tmp_path / "saved") == metadata
    assert verify_digests(tmp_path / "saved" / "3", ("ema",))
    loaded = load_weights(tmp_path / "saved", shapes())
    for path in asked:
        np.testing.assert_array_equal(loaded[path[0]][path[1]], value(path))
    marks = [file.read_text() for file in (tmp_path / "saved").rglob("commit_success.txt")]
    assert marks and not any(str(tmp_path) in text for text in marks)


def test_an_error_on_the_way_is_raised_and_nothing_counts_as_written(tmp_path):
    def read(path):
        raise UserError("not that one")

    with pytest.raises(UserError, match="not that one"):
        save_streamed(tmp_path / "saved", 3, shapes(), read, {"config": {}})
    with pytest.raises(UserError, match="holds no checkpoint"):
        read_metadata(tmp_path / "saved")
