"""What every record must be, checked before it is stored: each fault is one line that names record and view.

`validate_record` is the whole check. It decodes every image, so it belongs where records are made; a training run
that reads a checked store does not need it.
"""

import numpy as np
from jaxtyping import Float

from diffgs_jax.data.records import EncodedMap, Record
from diffgs_jax.errors import DataError
from diffgs_jax.files.images import open_image

_RIGID = 1e-2
"""How far a published rotation may be from orthonormal: two decimals are too few, three are common."""
_FARTHEST = 1e15
"""Units from the origin: further away, squares overflow in single precision."""
_FOCAL = 0.2, 50.0
"""Smallest and largest focal length in image widths: fields of view from 136° to 1.1°."""
_ASPECT = 2.0


def validate_record(record: Record, *, views: int | None = None, images: bool = True) -> None:
    """Checks a record.

    Args:
        record: what a source made.
        views: how many there must be, where that is known.
        images: also decode every image and map.

    Raises:
        DataError: for a wrong count or a missing view; a pose that is not finite, left-handed or not rigid; absurd
            intrinsics; an image or map that is unreadable or not square; an object's view of which nothing is visible.
    """
    try:
        _check_counts(record, views)
        for view, pose in enumerate(np.asarray(record.cameras.camera_to_world, np.float64)):
            check_pose(pose, f"view {view}")
        for view, intrinsics in enumerate(np.asarray(record.cameras.intrinsics, np.float64)):
            check_intrinsics(intrinsics, f"view {view}")
        if images:
            for view, encoded in enumerate(record.images):
                _check_image(encoded, f"view {view}", is_object=record.domain == "object")
            for name, one in record.maps.items():
                _check_map(name, one)
    except DataError as error:
        raise DataError(f"record {record.uid}: {error}") from None


def check_pose(camera_to_world: Float[np.ndarray, "4 4"], name: str) -> None:
    """Checks that a pose is a rigid, right-handed motion.

    Args:
        camera_to_world: OpenCV axes.
        name: of the view, for the message.

    Raises:
        DataError: if it is not.
    """
    pose = np.asarray(camera_to_world, np.float64)
    if not np.isfinite(pose).all():
        raise DataError(f"{name} has a pose that is not finite")
    if np.abs(pose[:3, 3]).max() > _FARTHEST:
        raise DataError(
            f"{name} has a pose {np.abs(pose[:3, 3]).max():.1e} units away, and at most {_FARTHEST:.0e} are taken"
        )
    rotation = pose[:3, :3]
    determinant = float(np.linalg.det(rotation))
    if determinant < 0:
        raise DataError(
            f"{name} has a left-handed pose (determinant {determinant:.3f}): its world or camera is mirrored"
        )
    error = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if error > _RIGID or not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-4):
        raise DataError(f"{name} has a pose that is not rigid (off by {error:.3g})")


def check_intrinsics(intrinsics: Float[np.ndarray, "4"], name: str) -> None:
    """Checks that normalised intrinsics can be those of a square image.

    Args:
        intrinsics: (fx, fy, cx, cy) as fractions of width and height.
        name: of the view, for the message.

    Raises:
        DataError: if they are not finite, the focal length is no lens's, or the centre lies outside the image.
    """
    fx, fy, cx, cy = (float(value) for value in intrinsics)
    absurd = not np.isfinite([fx, fy, cx, cy]).all() or not (0 <= cx <= 1 and 0 <= cy <= 1)
    if absurd or not all(_FOCAL[0] <= f <= _FOCAL[1] for f in (fx, fy)) or not 1 / _ASPECT <= fx / fy <= _ASPECT:
        raise DataError(f"{name} has absurd intrinsics: fx, fy, cx, cy = {fx:.4g}, {fy:.4g}, {cx:.4g}, {cy:.4g}")


def _check_counts(record: Record, views: int | None) -> None:
    found = len(record.images)
    if found == 0:
        raise DataError("it has no views")
    poses, intrinsics = (np.shape(array) for array in record.cameras)
    if poses != (found, 4, 4) or intrinsics != (found, 4):
        raise DataError(f"{found} images, but cameras of shapes {poses} and {intrinsics}")
    if views is not None and found != views:
        raise DataError(f"{found} views where there must be {views}")
    for view, encoded in enumerate(record.images):
        if not encoded:
            raise DataError(f"view {view} is missing")
    for name, one in record.maps.items():
        if len(one.views) != found:
            raise DataError(f"{found} images, but {len(one.views)} of its map {name}")


def _check_image(encoded: bytes, name: str, *, is_object: bool) -> None:
    try:
        image = open_image(encoded, "it")
    except DataError as error:
        raise DataError(f"{name} is an unreadable image: {error}") from None
    size, alpha = image.size, image.getchannel("A").getextrema() if "A" in image.getbands() else None
    if size[0] != size[1]:
        raise DataError(f"{name} is {size[0]}×{size[1]}; views must be square")
    if is_object and alpha is not None and not alpha[1]:
        raise DataError(f"{name} shows nothing: its mask is empty")


def _check_map(name: str, one: EncodedMap) -> None:
    for view, encoded in enumerate(one.views):
        try:
            open_image(encoded, "it", upright=False)
        except DataError as error:
            raise DataError(f"view {view} has an unreadable map {name}: {error}") from None
