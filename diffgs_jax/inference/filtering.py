"""Where results are assembled: the filter of the training pixel's size, as a model's config asks for it."""

import jax
import numpy as np

from diffgs_jax.geometry import Cameras, Gaussians, smoothed
from diffgs_jax.models import Request


def filtered(gaussians: Gaussians, request: Request, variance: float) -> Gaussians:
    """Returns what a model made of a request, as wide as the views of the request saw it.

    Args:
        gaussians: `[b, n]`.
        request: names the cameras, given and generated ones.
        variance: of `SamplingConfig.filter`; 0 changes nothing.
    """
    seen = [] if request.condition is None else [request.condition.cameras]
    seen += [] if request.cameras is None else [request.cameras]
    if not variance or not seen:
        return gaussians
    cameras = Cameras(
        *(np.concatenate([np.asarray(leaf) for leaf in leaves], axis=1) for leaves in zip(*seen, strict=True))
    )
    return smoothed(Gaussians(*jax.device_get(gaussians)), cameras, request.resolution, variance)
