"""The frame objects live in: bounding-sphere radius 1, world z up, the first condition view at azimuth 0."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from diffgs_jax.geometry.cameras import Cameras, orbit

FOREGROUND_RATIO = 0.72
"""The larger side of an object over the side of the image: the median over views of 725 pieces of furniture rendered
in the object frame (distance 2.7, 50°), half of which lie between 0.65 and 0.77. A bounding sphere would fill 0.86."""
TURNTABLE_RATIO = 0.77
"""The same of the largest of four silhouettes a quarter turn apart: the median over 145 of these objects, half of which
lie between 0.73 and 0.81."""


@dataclasses.dataclass(frozen=True)
class ObjectRig:
    """The cameras a picture without a pose is given, and those that are denoised beside it."""

    elevation: float = 20.0
    """Elevation of the condition camera and of the denoised cameras, degrees."""
    distance: float = 2.7
    """Distance of every camera from the object's centre; the bounding sphere has radius 1."""
    fov: float = 50.0
    """Field of view, degrees. With distance 2.7 a sphere of radius 1 just fits."""
    azimuths: tuple[float, ...] = (90.0, 180.0, 270.0)
    """Azimuths of the denoised views, degrees from the condition view."""


def condition_camera(rig: ObjectRig, elevation: float | None = None, azimuths: Sequence[float] = (0.0,)) -> Cameras:
    """Returns the cameras `[len(azimuths)]` of pictures that came without a pose.

    Args:
        rig: the cameras the model was trained for.
        elevation: degrees; the rig's by default.
        azimuths: degrees; of one picture 0.
    """
    height = rig.elevation if elevation is None else elevation
    return orbit(np.asarray(azimuths), elevation_degrees=height, distance=rig.distance, fov_degrees=rig.fov)


def denoised_cameras(rig: ObjectRig) -> Cameras:
    """Returns the cameras `[len(azimuths)]` of the views to denoise."""
    return orbit(np.asarray(rig.azimuths), elevation_degrees=rig.elevation, distance=rig.distance, fov_degrees=rig.fov)


def azimuths_beside(given: Sequence[float], count: int) -> tuple[float, ...]:
    """Returns azimuths of further views, each in the middle of the widest gap that those before it leave, rising.

    Args:
        given: azimuths of the views that there are, degrees; where there is none, the first is put at 0.
        count: how many.
    """
    taken = sorted(float(azimuth) % 360.0 for azimuth in given)
    found: list[float] = []
    for _ in range(count):
        if taken:
            gaps = np.diff(taken, append=taken[0] + 360.0)
            widest = int(np.argmax(gaps > gaps.max() - 1e-6))
            azimuth = (taken[widest] + gaps[widest] / 2) % 360.0
        else:
            azimuth = 0.0
        found.append(float(azimuth))
        taken = sorted([*taken, found[-1]])
    return tuple(sorted(found))


def azimuth_of(camera_to_world: Float[np.ndarray, "4 4"]) -> float:
    """Returns the azimuth of a camera's centre, radians from +x; 0 for a camera on the z axis."""
    x, y = float(camera_to_world[0, 3]), float(camera_to_world[1, 3])
    return float(np.arctan2(y, x)) if np.hypot(x, y) > 1e-9 else 0.0


def turn_to_azimuth_zero(
    camera_to_world: Float[np.ndarray, "n 4 4"], reference: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "n 4 4"]:
    """Turns the world about z so that the `reference` camera has azimuth 0.

    Args:
        camera_to_world: poses to express in the turned world.
        reference: the first condition view's pose, in the same world as the others.
    """
    angle = -azimuth_of(reference)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return (turn @ camera_to_world.astype(np.float64)).astype(np.float32)


def normalize_points(points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Returns the `offset` and `scale` that bring points into the object frame: `(points + offset) * scale`.

    The box's centre goes to the origin, and the farthest point to distance 1, so everything is inside [−1, 1]³.

    Raises:
        ValueError: if the points are not finite or all the same.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    offset = -(low + high) / 2
    radius = float(np.linalg.norm(points + offset, axis=1).max())
    if not np.isfinite(radius) or radius < 1e-12:
        raise ValueError("the points are not finite or have no extent")
    return offset.astype(np.float64), 1.0 / radius
