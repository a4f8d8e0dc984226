"""What G-Objaverse and its repackaging by DiffSplat share: cameras, view numbers, axes of normals."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.data.maps import encode_depth, encode_normals
from diffgs_jax.data.records import EncodedMap, Record
from diffgs_jax.datasets._images import encode_pixels, shrink, shrink_map
from diffgs_jax.datasets._object_frame import frame_from_depth
from diffgs_jax.datasets._poses import rigid_poses
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.datasets.reprojection import move_world
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras

DUPLICATES = (24, 39)
"""View 24 shows what view 0 shows, and 39 what 27 shows."""
PUBLISHED_VIEWS = tuple(view for view in range(40) if view not in DUPLICATES)
FRAME_KEY = "object_frame"
"""In the first view's JSON: {"offset": [x, y, z], "scale": s} that brings the object into its frame, where it is known
already and depth is sound; published files do not have it."""
_FIELD_OF_VIEW = 0.69115
_FILLED = 254
_HALF_DIAGONAL = 0.87
"""Objects were scaled into a cube of side 1; what is farther than this from its centre is an artefact."""


class GBuffer(NamedTuple):
    """One view.

    Attributes:
        encoded: its image's file.
        pixels: RGBA of it.
        camera: its JSON.
        depth: planar z, dataset units; what is not finite or positive is invalid. None if maps are not wanted.
        normals: as stored, in [−1, 1]; NaN where there is none.
    """

    encoded: bytes
    pixels: UInt8[np.ndarray, "s s 4"]
    camera: dict[str, Any]
    depth: Float[np.ndarray, "s s"]
    normals: Float[np.ndarray, "s s 3"] | None


def gbuffer_record(uid: str, views: Sequence[int], read: Callable[[int], GBuffer], options: SourceOptions) -> Record:
    """Returns the record of an object from its views.

    The published JSON has the columns of `camera_to_world` (`x`, `y`, `z`, `origin`): OpenCV cameras in Blender's
    world, which is right-handed with z up, like ours. The normals' Blender axes are (−R, −B, G).

    Args:
        uid: of the record.
        views: the published numbers to read.
        read: reads one.
        options: of all sources.

    Raises:
        DataError: if a view is wrong.
    """
    poses, intrinsics, images, depths, normals = [], [], [], [], []
    frame = None
    for view in views:
        buffer = read(view)
        if view == views[0]:
            frame = _known_frame(buffer.camera, f"view {view}")
        pose, focal = _camera(buffer.camera, f"view {view}")
        side = buffer.pixels.shape[0]
        unchanged = not 0 < options.size < side
        images.append(
            buffer.encoded if unchanged else encode_pixels(shrink(buffer.pixels, options.size), options.quality)
        )
        if buffer.depth.shape != buffer.pixels.shape[:2]:
            raise DataError(f"view {view}: depth of {buffer.depth.shape}, image of {buffer.pixels.shape[:2]}")
        if frame is None:
            depth = _clean(buffer.depth, buffer.pixels[..., 3], pose)
        else:
            depth = np.where(buffer.depth > 0, buffer.depth, np.nan).astype(np.float32)
        poses.append(pose)
        intrinsics.append([focal, focal, 0.5, 0.5])
        depths.append(shrink_map(depth, options.size))
        if options.maps and buffer.normals is not None:
            blender = np.stack([-buffer.normals[..., 0], -buffer.normals[..., 2], buffer.normals[..., 1]], axis=-1)
            hidden = np.isnan(depth)[..., None]
            normals.append(shrink_map(np.where(hidden, np.nan, blender).astype(np.float32), options.size))
    rigid = rigid_poses(np.stack(poses), [f"view {view}" for view in views])
    if frame is not None:  # written from a record, whose poses are kept to the last bit
        rigid = np.stack(poses)
    cameras = Cameras(rigid.astype(np.float32), np.asarray(intrinsics, np.float32))
    depth = _stack(depths)
    offset, scale = frame or frame_from_depth(depth, cameras, stride=max(1, depth.shape[1] // 256))
    maps: dict[str, EncodedMap] = {}
    if options.maps:
        maps["depth"] = encode_depth(depth * np.float32(scale))
        if normals:
            maps["normals"] = encode_normals(_stack(normals))
    return Record(uid, "object", images, move_world(cameras, offset, scale), maps=maps)


def _camera(camera: dict[str, Any], name: str) -> tuple[np.ndarray, float]:
    pose = np.eye(4)
    try:
        for column, key in enumerate(("x", "y", "z", "origin")):
            pose[:3, column] = np.asarray(camera[key], np.float64)
        focal = 0.5 / np.tan(float(camera.get("x_fov", _FIELD_OF_VIEW)) / 2)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name} has no camera: {error!r}") from None
    return pose, float(focal)


def _known_frame(camera: dict[str, Any], name: str) -> tuple[np.ndarray, float] | None:
    if camera.get(FRAME_KEY) is None:
        return None
    try:
        offset, scale = np.asarray(camera[FRAME_KEY]["offset"], np.float64), float(camera[FRAME_KEY]["scale"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name} has an unreadable {FRAME_KEY}: {error!r}") from None
    if offset.shape != (3,) or not np.isfinite(offset).all() or not 0 < scale < np.inf:
        raise DataError(f"{name} has an {FRAME_KEY} that makes no sense")
    return offset, scale


def _clean(depth: np.ndarray, alpha: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Returns the depth of the object only: within its published cube, and where it fills the pixel.

    Depth and normals were averaged over a pixel like colours, so at the silhouette the background is mixed in.
    """
    distance = float(np.linalg.norm(pose[:3, 3]))
    with np.errstate(invalid="ignore"):
        plausible = (alpha >= _FILLED) & (np.abs(depth - distance) < _HALF_DIAGONAL) & (depth > 0)
    return np.where(plausible, depth, np.nan).astype(np.float32)


def _stack(maps: list[np.ndarray]) -> np.ndarray:
    if len({one.shape for one in maps}) > 1:
        raise DataError(f"its views have different sizes: {sorted({one.shape[0] for one in maps})}")
    return np.stack(maps)
