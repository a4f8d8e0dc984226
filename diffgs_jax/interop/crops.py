"""What of a splat may be left out, as settings: importing it is cheap."""

import dataclasses

from diffgs_jax.errors import UserError


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
