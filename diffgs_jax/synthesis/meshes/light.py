"""The light meshes are rendered in: fixed to the object, so that every view shows the same surface colours.

A hemisphere light, brighter from above, and a weak sun that tells a box's sides apart. It is applied to display
values, never exceeds 1, and leaves no side black. Rooms have light of their own, computed beforehand (`rooms_light`).
"""

import numpy as np
from jaxtyping import Float

SKY, GROUND = 1.0, 0.7
"""Brightness of a surface that looks up, and of one that looks down."""
SUN = np.asarray([0.45, 0.30, 0.84]) / np.linalg.norm([0.45, 0.30, 0.84])
"""Direction to the sun."""
SUN_STRENGTH = 0.22
"""The sun's part of all light."""
CUT_OUT = 0.5
"""Texels with less alpha are holes, and glass with less alpha is no surface to depth and normals."""
GAMMA = 2.2
"""Display values to this power are linear light, nearly."""


def brightness(normals: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
    """Returns what surface colours are multiplied with.

    Args:
        normals: unit vectors on the viewer's side.
    """
    hemisphere = GROUND + (SKY - GROUND) * (0.5 + 0.5 * normals[..., 2])
    return hemisphere * (1 - SUN_STRENGTH) + SUN_STRENGTH * np.maximum(0.0, normals @ SUN)


def exposed(light: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Turns linear light from surfaces into display values in [0, 1), as film does: 1 − exp(−light), then sRGB's gamma.

    Args:
        light: not negative; 1 is what a mid-bright wall sends.
    """
    return (1 - np.exp(-np.maximum(light, 0.0))) ** (1 / GAMMA)
