"""Leaves out Gaussians: faint ones, and those outside a box or a sphere."""

import dataclasses

import numpy as np

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians


@dataclasses.dataclass(frozen=True)
class Sphere:
    """What is kept: the inside of a ball, world units. The object frame's own has radius 1."""

    radius: float = 1.0
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Box:
    """What is kept: the inside of a box along the axes, world units."""

    low: tuple[float, float, float] = (-1.0, -1.0, -1.0)
    high: tuple[float, float, float] = (1.0, 1.0, 1.0)


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


def check_cleaning(min_opacity: float = 0.0, crop: Box | Sphere | None = None) -> None:
    """Refuses settings that `clean_gaussians` cannot follow.

    Raises:
        UserError: if one is out of range or the crop is empty.
    """
    if not 0 <= min_opacity <= 1:
        raise UserError(f"the least opacity must be from 0 to 1, not {min_opacity}")
    match crop:
        case Sphere(radius) if not radius > 0:
            raise UserError(f"the radius of a crop must be positive, not {radius}")
        case Box(low, high) if not all(a < b for a, b in zip(low, high, strict=True)):
            raise UserError(f"a crop box must begin before it ends, not {low} to {high}")
