"""Leaves out Gaussians: faint ones, and those outside a box or a sphere."""

import numpy as np

from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop.crops import Box, Sphere, check_cleaning

FAINTEST = 1 / 255
"""Opacity under which nothing is ever drawn, by us or by the reference (3DGS, Kerbl et al. 2023)."""


def visible_gaussians(gaussians: Gaussians) -> Gaussians:
    """Leaves out Gaussians that change no pixel from any camera: those fainter than 1/255, or not numbers.

    What is written to files goes through this, whoever writes. A Gaussian that others hide stays: a camera between them
    would see it.

    Args:
        gaussians: one set, `[n, …]`.

    Returns:
        Numpy Gaussians `[m, …]`, m ≤ n, in the same order.
    """
    return clean_gaussians(gaussians, min_opacity=FAINTEST)


def clean_gaussians(gaussians: Gaussians, *, min_opacity: float = 0.0, crop: Box | Sphere | None = None) -> Gaussians:
    """Leaves out Gaussians that are faint, outside, or not numbers; the others keep their order.

    Args:
        gaussians: one set, `[n, …]`.
        min_opacity: fainter ones go; below 1/255 nothing is ever drawn.
        crop: those whose centre is outside go; None keeps all.

    Returns:
        Numpy Gaussians `[m, …]`, m ≤ n.

    Raises:
        UserError: if a setting is out of range or the crop is empty.
    """
    check_cleaning(min_opacity, crop)
    gaussians = Gaussians(*(np.asarray(leaf) for leaf in gaussians))
    keep = gaussians.opacities >= min_opacity
    for leaf in gaussians:
        keep &= np.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim)))
    match crop:
        case Sphere(radius, center):
            keep &= np.linalg.norm(gaussians.means - np.asarray([center]), axis=1) <= radius
        case Box(low, high):
            keep &= ((gaussians.means >= np.asarray([low])) & (gaussians.means <= np.asarray([high]))).all(axis=1)
    return Gaussians(*(leaf[keep] for leaf in gaussians))
