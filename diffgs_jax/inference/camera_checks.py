"""What poses of an object's pictures cannot be, refused in one line that says which check failed."""

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras

_SAME = 1.0
"""Degrees at the object's centre within which two views are the same view."""
_WIDEST_GAP = 180.0
"""Degrees of azimuth without a view, in which the object would not be seen at all."""
_ROUNDING = 1.0


def check_around(cameras: Cameras, source: str, *, several: bool) -> None:
    """Refuses cameras that do not look at the object, and of several views those that do not surround it.

    Args:
        cameras: `[n]`, in the object frame.
        source: what they are of, for messages.
        several: whether the model needs the object seen from all around.

    Raises:
        DataError: naming the check and the view.
    """
    poses = np.asarray(cameras.camera_to_world, np.float64)
    centers = poses[:, :3, 3]
    distances = np.linalg.norm(centers, axis=-1)
    if distances.min() < 1:
        raise DataError(f"{source}: a camera is inside the object's bounding sphere; are its poses in another frame?")
    cosines = -np.einsum("ni,ni->n", poses[:, :3, 2], centers) / distances
    for view in np.flatnonzero(cosines <= 0)[:1]:
        raise DataError(
            f"{source}: the camera of view {view} looks away from the object (check of the viewing direction): are its "
            "axes another program's? A transforms.json has x right, y up, z back"
        )
    if not several:
        return
    between = np.degrees(np.arccos(np.clip((centers / distances[:, None]) @ (centers / distances[:, None]).T, -1, 1)))
    first, second = np.nonzero(np.triu(between < _SAME, 1))
    if len(first):
        raise DataError(
            f"{source}: views {first[0]} and {second[0]} are from one place; this model needs different ones"
        )
    gap = widest_gap(centers)
    if gap > _WIDEST_GAP + _ROUNDING:
        raise DataError(
            f"{source}: its views do not surround the object: none is within {gap:.0f} degrees of azimuth, and this "
            "model needs views from all around"
        )


def widest_gap(centers: Float[np.ndarray, "n 3"]) -> float:
    """Returns the largest angle between neighbouring azimuths, degrees.

    Args:
        centers: of cameras, z up, the object about the origin.
    """
    azimuths = np.sort(np.degrees(np.arctan2(centers[:, 1], centers[:, 0])))
    return float(np.diff(azimuths, append=azimuths[0] + 360).max())
