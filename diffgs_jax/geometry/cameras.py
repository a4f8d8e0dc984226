"""Pinhole cameras: OpenCV axes (x right, y down, z forward), right-handed, world z up."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Cameras(NamedTuple):
    """Any number of pinhole cameras.

    Attributes:
        camera_to_world: `[*batch, 4, 4]`, det(R) = +1, translation in world units.
        intrinsics: `[*batch, 4]`, (fx, fy, cx, cy) as fractions of the image width (fx, cx) and height (fy, cy), so
            that a camera outlives a resize. Pixel (row i, column j) is centred at (j + 0.5, i + 0.5).
    """

    camera_to_world: Float[Array | np.ndarray, "*batch 4 4"]
    intrinsics: Float[Array | np.ndarray, "*batch 4"]


def world_to_camera(camera_to_world: Float[Array, "*batch 4 4"]) -> Float[Array, "*batch 4 4"]:
    """Inverts poses as general matrices, so that gradients are those of the unconstrained 4×4 matrix.

    The last row is taken to be (0, 0, 0, 1) and receives no gradient.
    """
    linear, translation = camera_to_world[..., :3, :3], camera_to_world[..., :3, 3]
    # The adjugate over the determinant: exact for any invertible matrix, and on every backend far cheaper than LU.
    x, y, z = linear[..., 0], linear[..., 1], linear[..., 2]
    rows = jnp.stack([jnp.cross(y, z), jnp.cross(z, x), jnp.cross(x, y)], axis=-2)
    determinant = jnp.sum(x * rows[..., 0, :], axis=-1)[..., None, None]
    inverse = rows / determinant
    # Summed element by element: a dot product of default precision may be taken in TF32 on a GPU.
    offset = -jnp.sum(inverse * translation[..., None, :], axis=-1)
    top = jnp.concatenate([inverse, offset[..., None]], axis=-1)
    corner = jnp.asarray(np.diag([0.0, 0.0, 0.0, 1.0]), top.dtype).reshape((1,) * (top.ndim - 2) + (4, 4))
    # Padded, not concatenated: with explicit mesh axes a constant row would have to be sharded like the others.
    return jnp.pad(top, [(0, 0)] * (top.ndim - 2) + [(0, 1), (0, 0)]) + corner


def look_at(
    position: Float[np.ndarray, "*batch 3"], target: Float[np.ndarray, "*batch 3"] | None = None
) -> Float[np.ndarray, "*batch 4 4"]:
    """Returns the `camera_to_world` of cameras that look from `position` at `target`, upright (world z up).

    A camera that looks straight up or down has no upright; its image top then points along world +y.

    Args:
        position: camera centres, world units.
        target: points to look at; the origin by default.
    """
    position = np.asarray(position, np.float64)
    target = np.zeros_like(position) if target is None else np.asarray(target, np.float64)
    forward = target - position
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    vertical = np.abs(forward[..., 2:]) > 1.0 - 1e-9
    up = np.where(vertical, [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    right = np.cross(forward, up)
    right = right / np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    matrix = np.zeros((*position.shape[:-1], 4, 4))
    matrix[..., :3, 0], matrix[..., :3, 1], matrix[..., :3, 2] = right, down, forward
    matrix[..., :3, 3], matrix[..., 3, 3] = position, 1.0
    return matrix.astype(np.float32)


def spherical_position(
    azimuth: Float[np.ndarray, "*batch"] | float,
    elevation: Float[np.ndarray, "*batch"] | float,
    distance: Float[np.ndarray, "*batch"] | float,
) -> Float[np.ndarray, "*batch 3"]:
    """Returns points at `distance` from the origin; angles in radians, azimuth from +x towards +y, elevation up."""
    azimuth, elevation, distance = np.broadcast_arrays(azimuth, elevation, distance)
    flat = distance * np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation)], axis=-1)


def intrinsics_from_fov(fov_degrees: float, aspect: float = 1.0) -> Float[np.ndarray, "4"]:
    """Returns normalised intrinsics of a centred camera.

    Args:
        fov_degrees: horizontal field of view, degrees in (0, 180).
        aspect: image width over height.
    """
    fx = 0.5 / np.tan(np.radians(fov_degrees) / 2)
    return np.asarray([fx, fx * aspect, 0.5, 0.5], np.float32)


def orbit(
    azimuths_degrees: Float[np.ndarray, "n"],
    *,
    elevation_degrees: float = 20.0,
    distance: float = 2.7,
    fov_degrees: float = 50.0,
) -> Cameras:
    """Returns cameras on a circle about the z axis, looking at the origin.

    Args:
        azimuths_degrees: one camera for each, degrees; 0 looks from +x.
        elevation_degrees: height above the xy plane as an angle.
        distance: from the origin, world units.
        fov_degrees: horizontal (and vertical: images are square) field of view.
    """
    azimuths = np.radians(np.asarray(azimuths_degrees, np.float64))
    elevations = np.full_like(azimuths, np.radians(elevation_degrees))
    pose = look_at(spherical_position(azimuths, elevations, np.full_like(azimuths, distance)))
    return Cameras(pose, np.tile(intrinsics_from_fov(fov_degrees), (len(azimuths), 1)))
