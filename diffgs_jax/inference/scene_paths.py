"""Camera paths through a scene that is known from one picture, and whether they go through what is in the way."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path, json_object, load_json, read_regular
from diffgs_jax.files.images import open_image
from diffgs_jax.geometry import Cameras, intrinsics_from_fov

NAMED_PATHS = ("forward", "sideways")
"""Paths that need no file: straight ahead, and to the right without turning, as far as the model's unit goes."""
_AXES = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenGL's camera axes (x right, y up, z back) to OpenCV's, and back."""
_LARGEST_DEPTH = 2**28  # bytes


class ScenePath(NamedTuple):
    """Where a camera goes.

    Attributes:
        cameras: `[n]`, the first of them the picture's own, in any frame and unit.
        depth: `[h, w]` of the picture, planar z in the unit of the cameras, NaN where it is not known; None for none.
    """

    cameras: Cameras
    depth: Float[np.ndarray, "h w"] | None = None


def scene_path(path: str | os.PathLike[str], frames: int, fov: float | None = None) -> ScenePath:
    """Returns a path by its name, or as a JSON says it.

    The file is laid out like a `transforms.json`: `frames` with a `transform_matrix` each (camera to world, OpenGL
    axes), in the order of the way, the first of them where the picture was taken; `camera_angle_x` (radians) is that of
    the picture's middle square. Pictures that frames name are not looked at; the first frame's `depth_file_path`
    (16 bits, times `depth_unit_scale_factor`, 0.001 by default) is the depth of the picture.

    Args:
        path: of the JSON, or one of `NAMED_PATHS`.
        frames: of a path by name.
        fov: horizontal field of view of the picture's middle square, degrees; it takes the place of the file's, and is
            60 for a path by name.

    Raises:
        UserError: if there is no such file, or a number is out of range.
        DataError: if it is no path.
    """
    if fov is not None and not 5 <= fov <= 150:
        raise UserError(f"--fov must be from 5 to 150 degrees, not {fov}")
    if str(path) in NAMED_PATHS:
        if frames < 2:
            raise UserError(f"a path needs 2 frames or more, not {frames}")
        poses = np.tile(np.eye(4), (frames, 1, 1))
        poses[:, 2 if str(path) == "forward" else 0, 3] = np.linspace(0, 1, frames)
        return ScenePath(_cameras(poses, fov or 60.0))
    if not checked_path(path).is_file():
        raise UserError(f"there is no path {path}: give a JSON file, or one of {', '.join(NAMED_PATHS)}")
    content = json_object(load_json(path), str(path))
    try:
        listed = content["frames"]
        poses = np.asarray([frame["transform_matrix"] for frame in listed], np.float64)
        if poses.shape[1:] == (3, 4):
            poses = np.concatenate([poses, np.tile([[[0.0, 0, 0, 1]]], (len(poses), 1, 1))], axis=1)
        if fov is None:
            fov = float(np.degrees(content["camera_angle_x"]))
        depth = _read_depth(pathlib.Path(path).parent, listed[0])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{path} is no camera path: its frames need a transform_matrix, and it a camera_angle_x ({error!r})"
        ) from None
    if poses.shape[1:] != (4, 4) or len(poses) < 2 or not np.isfinite(poses).all():
        raise DataError(f"{path} is no camera path: it needs two frames or more with finite 4×4 matrices")
    if (np.linalg.det(poses[:, :3, :3]) < 0.5).any():
        raise DataError(f"{path} is no camera path: a transform_matrix is no rotation and translation")
    if not 5 <= fov <= 150:
        raise DataError(f"{path} has a field of view of {fov:.0f} degrees; 5 to 150 are known")
    return ScenePath(_cameras(poses @ _AXES, fov), depth)


def refuse_walls(path: ScenePath, name: str) -> None:
    """Refuses a path that leads through a surface that the picture's depth shows.

    What the picture does not show, behind a corner or beside it, is not judged.

    Raises:
        DataError: naming the frame.
    """
    if path.depth is None:
        return
    first = np.linalg.inv(np.asarray(path.cameras.camera_to_world, np.float64)[0])
    centers = np.asarray(path.cameras.camera_to_world, np.float64)[:, :3, 3] @ first[:3, :3].T + first[:3, 3]
    frame = first_beyond(centers, path.depth, np.asarray(path.cameras.intrinsics)[0])
    if frame is not None:
        raise DataError(
            f"{name} leads through a wall: at frame {frame} the camera is behind what the picture shows there"
        )


def first_beyond(
    centers: Float[np.ndarray, "n 3"], depth: Float[np.ndarray, "h w"], intrinsics: Float[np.ndarray, "4"]
) -> int | None:
    """Returns the first place that lies behind what a camera sees in its direction; None if none does.

    Args:
        centers: in the camera's axes, in the order of the way.
        depth: planar z in the same unit, NaN where nothing is known.
        intrinsics: of the camera, as fractions of the picture's sides.
    """
    height, width = depth.shape
    fx, fy, cx, cy = (float(value) for value in intrinsics)
    for number, (x, y, z) in enumerate(centers):
        if z <= 0:
            continue
        column, row = int(np.floor((fx * x / z + cx) * width)), int(np.floor((fy * y / z + cy) * height))
        if 0 <= column < width and 0 <= row < height and z > depth[row, column]:
            return number
    return None


def _cameras(poses: np.ndarray, fov: float) -> Cameras:
    lens = np.asarray(intrinsics_from_fov(fov), np.float32)
    return Cameras(poses.astype(np.float32), np.tile(lens, (len(poses), 1)))


def _read_depth(folder: pathlib.Path, frame: dict[str, Any]) -> Float[np.ndarray, "h w"] | None:
    if not frame.get("depth_file_path"):
        return None
    file = folder / str(frame["depth_file_path"])
    values = np.asarray(open_image(read_regular(file, limit=_LARGEST_DEPTH), str(file), upright=False), np.float32)
    if values.ndim != 2:
        raise DataError(f"{file} is no depth map: it has {values.shape[-1]} channels")
    side = min(values.shape)
    top, left = (values.shape[0] - side) // 2, (values.shape[1] - side) // 2
    values = values[top : top + side, left : left + side] * float(frame.get("depth_unit_scale_factor", 1e-3))
    return np.where(values > 0, values, np.nan).astype(np.float32)
