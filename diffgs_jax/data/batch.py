"""What one training step reads."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int32

from diffgs_jax.geometry import Views


class Batch(NamedTuple):
    """One batch of samples, each a few posed views of one object or scene.

    Attributes:
        inputs: `[b, v]`, the views the network reads: condition views (`is_condition`) and the views to denoise,
            all of them clean here. An object's world is turned about z so that the first condition view has azimuth 0;
            a scene's is brought into the frame of `scene_frame.py`.
        novel: `[b, s]`, further views of the same objects, for supervision only; `is_condition` is False.
        record: `[b]`, the index of the record in its split, counted through all sources.
    """

    inputs: Views
    novel: Views
    record: Int32[Array | np.ndarray, "b"]
