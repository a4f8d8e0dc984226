"""Posed views: what a dataset delivers and what the denoiser reads."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from diffgs_jax.geometry.cameras import Cameras

OBJECT, SCENE = 0, 1
"""Values of `Views.domain`."""


class Views(NamedTuple):
    """A batch of sets of posed views.

    Attributes:
        images: `[b, v, h, w, 3]` in [0, 1], on their background.
        cameras: `[b, v]`, in the object frame for objects (`object_frame.py`), for scenes in the frame that
            `data/scene_frame.py` makes of the cameras themselves.
        is_condition: `[b, v]`, True where the view is given clean, False where it is denoised. Its position in the
            list means nothing; a sample may have any number of condition views, none included.
        domain: `[b]`, `OBJECT` or `SCENE`.
        alphas: `[b, v, h, w]` coverage in [0, 1], or None where it is not known.
        background: `[b, 3]` RGB in [0, 1] that a sample's images are on, or None where it is the model's own.
        depths: `[b, v, h, w]` z along the camera's axis of what is seen first, world units, NaN where it is not known
            or nothing is there; None if no view has any.
        normals: `[b, v, h, w, 3]` unit vectors, outward from the surface that is seen first, in the axes of the
            cameras' world, NaN where they are not known or nothing is there; None if no view has any.
    """

    images: Float[Array | np.ndarray, "b v h w 3"]
    cameras: Cameras
    is_condition: Bool[Array | np.ndarray, "b v"]
    domain: Int32[Array | np.ndarray, "b"]
    alphas: Float[Array | np.ndarray, "b v h w"] | None = None
    background: Float[Array | np.ndarray, "b 3"] | None = None
    depths: Float[Array | np.ndarray, "b v h w"] | None = None
    normals: Float[Array | np.ndarray, "b v h w 3"] | None = None
