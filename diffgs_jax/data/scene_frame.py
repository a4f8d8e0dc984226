"""The frame scenes live in: axes of a camera, and a unit that the cameras themselves give.

Videos come in worlds of any origin and scale. The published scene model saw the mean of a sample's cameras at the
origin, in OpenCV axes, and centres scaled so that the largest coordinate was 1 / 1.35.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float


def to_scene_frame(
    camera_to_world: Float[np.ndarray, "v 4 4"],
    inputs: int,
    *,
    frame: Literal["first_view", "mean_camera"] = "first_view",
    extent: float = 1 / 1.35,
) -> tuple[Float[np.ndarray, "v 4 4"], float]:
    """Returns the cameras of one sample in the scene frame, float32, and the scale that lengths were multiplied by.

    Only the views that the network reads decide, so that sampling, which has no others, can do the same. Cameras that
    all stand in one place give no unit; theirs is kept.

    Args:
        camera_to_world: the network's input views first, condition views foremost.
        inputs: how many of them are condition or noisy views.
        frame: "first_view": the first camera becomes the identity; "mean_camera": the mean camera does.
        extent: the largest coordinate of an input camera's centre afterwards.
    """
    poses = camera_to_world.astype(np.float64)
    known = poses[: max(inputs, 1)]
    reference = poses[0] if frame == "first_view" else _mean_camera(known)
    poses = np.linalg.inv(reference) @ poses
    largest = float(np.abs(poses[: max(inputs, 1), :3, 3]).max())
    scale = extent / largest if largest > 1e-9 else 1.0
    poses[:, :3, 3] *= scale
    return poses.astype(np.float32), scale


def _mean_camera(poses: np.ndarray) -> np.ndarray:
    """Returns the pose at the mean centre, along the mean z axis, its y axis as near to the mean y axis as can be."""
    forward, down = poses[:, :3, 2].mean(axis=0), poses[:, :3, 1].mean(axis=0)
    right = np.cross(down, forward)
    if min(np.linalg.norm(forward), np.linalg.norm(right)) < 1e-6:  # cameras that look all around have no mean
        forward, right = poses[0, :3, 2], poses[0, :3, 0]
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    mean = np.eye(4)
    mean[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=-1)
    mean[:3, 3] = poses[:, :3, 3].mean(axis=0)
    return mean
