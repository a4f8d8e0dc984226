"""T5 of a size that does not fit into memory: one block at a time, read from disk when it is its turn."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, Int32

from diffgs_jax.models.layers.text_encoders.published import T5_NAMES, read_settings, t5_config
from diffgs_jax.models.layers.text_encoders.t5 import apply_t5_block, finish_t5, start_t5, t5_shapes
from diffgs_jax.weights import nested, open_tensors, read_params


def encode_t5_folder(
    folder: pathlib.Path,
    ids: Int32[np.ndarray, "b n"],
    mask: Bool[np.ndarray, "b n"],
    *,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Float32[np.ndarray, "b n width"]:
    """Encodes texts with a T5 encoder of any size.

    Of the embedding of tokens only the rows that are asked for are kept, and of the blocks one at a time. For XXL in
    float32 a block has 770 MB; the embedding, which is read whole once, 525 MB.

    Args:
        folder: of a T5 encoder, with `config.json` and weights, in shards or whole.
        ids: tokens of each text.
        mask: which of them may be looked at.
        batch: texts that go through a block together.
        progress: told after each block how many of how many are done.

    Raises:
        UserError: if there is no such folder or file.
        DataError: if it holds another network, or not all of it.
    """
    config = t5_config(read_settings(folder))
    tensors, shapes = open_tensors(folder), t5_shapes(config)
    ends = nested(read_params(shapes, T5_NAMES, tensors, part=("ends",)))["ends"]
    used, places = np.unique(ids, return_inverse=True)
    ends["tokens"]["embedding"] = ends["tokens"]["embedding"][used]
    config = dataclasses.replace(config, vocabulary=len(used))
    start, run, finish = (
        jax.jit(functools.partial(function, config)) for function in (start_t5, apply_t5_block, finish_t5)
    )
    chunks = [slice(first, first + batch) for first in range(0, len(ids), batch)]
    places = places.reshape(ids.shape).astype(np.int32)
    states = [start(ends, places[chunk], mask[chunk]) for chunk in chunks]
    for layer in range(config.layers):
        params = nested(read_params(shapes, T5_NAMES, tensors, part=("blocks",), layer=layer))["blocks"]
        on_device = jax.tree.map(jnp.asarray, params)
        del params  # before the next block is read there is one copy of this one, and then none
        states = [(run(on_device, x, bias), bias) for x, bias in states]
        jax.block_until_ready(states)
        del on_device
        if progress is not None:
            progress(layer + 1, config.layers)
    return np.concatenate([np.asarray(finish(ends, x), np.float32) for x, _ in states])
