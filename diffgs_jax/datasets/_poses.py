"""Published poses made into ours: checked, rigid, OpenCV axes, world z up."""

import numpy as np
from jaxtyping import Float

from diffgs_jax.data.validation import check_pose

_UP_PRIOR = 0.01
"""What cameras held level say about the vertical counts more than what they say when held upright."""


def rigid_poses(
    camera_to_world: Float[np.ndarray, "n 4 4"], names: list[str] | None = None
) -> Float[np.ndarray, "n 4 4"]:
    """Returns the poses with rotations that are exactly orthonormal, float64.

    Args:
        camera_to_world: as published, to a few decimals.
        names: of the views, for messages; "view 0" and so on by default.

    Raises:
        DataError: if a pose is not finite, mirrored, or no rigid motion.
    """
    poses = np.array(camera_to_world, np.float64)
    for number, pose in enumerate(poses):
        check_pose(pose, f"view {number}" if names is None else names[number])
        # The nearest rotation (Procrustes): published matrices are rounded.
        left, _, right = np.linalg.svd(pose[:3, :3])
        pose[:3, :3] = left @ right
    return poses


def from_opengl(camera_to_world: Float[np.ndarray, "*n 4 4"]) -> Float[np.ndarray, "*n 4 4"]:
    """Returns the poses of OpenGL cameras (x right, y up, z back) as those of OpenCV cameras; the world stays."""
    return np.asarray(camera_to_world, np.float64) @ np.diag([1.0, -1.0, -1.0, 1.0])


def upright(camera_to_world: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "n 4 4"]:
    """Turns the world, by the smallest angle, so that what the cameras take for up is z.

    Cameras are held level, so the vertical is what their x axes have least of (Szeliski 2006, "Image alignment and
    stitching", section 2.6); where they all look the same way, as in a video of a corridor, it is the mean of their
    own up axes that decides.

    Args:
        camera_to_world: OpenCV poses in any world.
    """
    poses = np.asarray(camera_to_world, np.float64)
    right, up = poses[:, :3, 0], -poses[:, :3, 1]
    mean_up = up.mean(axis=0)
    spread = right.T @ right / len(poses) - _UP_PRIOR * np.outer(mean_up, mean_up)
    vertical = np.linalg.eigh(spread)[1][:, 0]
    vertical *= 1.0 if vertical @ mean_up >= 0 else -1.0
    return _shortest_turn(vertical, np.asarray([0.0, 0.0, 1.0])) @ poses


def _shortest_turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Returns the 4×4 rotation of the smallest angle that takes one unit vector to another (Rodrigues)."""
    axis, cosine = np.cross(start, end), float(start @ end)
    turn = np.eye(4)
    if cosine < -1 + 1e-12:  # opposite: half a turn about x, which is across when the end is z
        turn[:3, :3] = np.diag([1.0, -1.0, -1.0])
        return turn
    cross = np.asarray([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn[:3, :3] += cross + cross @ cross / (1 + cosine)
    return turn
