"""Where results are assembled: the filter of the training pixel's size, as a model's config asks for it."""

import dataclasses

import jax
import numpy as np

from diffgs_jax.geometry import SMOOTHED_DILATION, Cameras, Gaussians, smoothed
from diffgs_jax.models import Request, Requirements
from diffgs_jax.rasterizer import RenderSettings


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


def rendering_of(requirements: Requirements, variance: float) -> RenderSettings:
    """Returns how Gaussians are rendered so that they look as in training: with little dilation where it is in them.

    Args:
        requirements: of the model that made them.
        variance: that `filtered` made part of them.
    """
    settings = requirements.rendering
    return dataclasses.replace(settings, dilation=SMOOTHED_DILATION) if variance else settings
