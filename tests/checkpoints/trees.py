"""A small checkpoint of every kind of array that a run has."""

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax.checkpoints import open_checkpoints

_RANDOM = np.random.default_rng(0)
_WEIGHTS = {
    "blocks": {"kernel": _RANDOM.normal(size=(3, 4, 5)).astype(np.float32), "bias": np.zeros(4, np.float32)},
    "half": np.asarray(jnp.asarray(_RANDOM.normal(size=7), jnp.bfloat16)),
}
PARTS = {
    "ema": _WEIGHTS,
    "state": {"step": np.int32(9), "params": _WEIGHTS, "opt_state": (np.float32([1, 2]), {"count": np.int32(3)})},
}
METADATA = {"config": {"model": {"kind": "test", "width": 4}}, "counters": {"samples": 18, "seconds": 0.5}}


def save(folder, *steps, keep=None):
    with open_checkpoints(folder, keep=keep) as write:
        for step in steps:
            write(step, on_device(PARTS), METADATA)


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
