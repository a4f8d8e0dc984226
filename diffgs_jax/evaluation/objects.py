"""Test objects as a protocol reads them: all their posed views, in memory."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from diffgs_jax.data import RecordStore, load_views
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras, turn_to_azimuth_zero

CONDITION_ELEVATION = 20.0
"""The view that is shown to a model is the stored one nearest to this, degrees: what unposed pictures get."""


class PosedObject(NamedTuple):
    """One object and every view there is of it.

    Attributes:
        uid: its name.
        images: `[n, s, s, 3]` in [0, 1], on the background.
        alphas: `[n, s, s]` in [0, 1].
        cameras: `[n]`, in the object frame up to a turn about z.
        condition: index of the view that is shown; all the others are asked for.
    """

    uid: str
    images: Float[np.ndarray, "n s s 3"]
    alphas: Float[np.ndarray, "n s s"]
    cameras: Cameras
    condition: int


def load_objects(
    store: RecordStore,
    resolution: int,
    indices: Sequence[int] | None = None,
    *,
    background: float = 1.0,
    elevation: float = CONDITION_ELEVATION,
    on_object: Callable[[int], object] = lambda objects: None,
) -> list[PosedObject]:
    """Reads objects whole.

    Args:
        store: one split of a dataset.
        resolution: height and width that views are brought to, pixels.
        indices: which records; all by default.
        background: grey level in [0, 1] that the views are composited on.
        elevation: of the condition views, degrees; see `condition_index`.
        on_object: called with 1 after every object.

    Raises:
        DataError: if a record is corrupt, is a scene, or has a single view.
    """
    objects = []
    for index in range(len(store)) if indices is None else indices:
        record = store[index]
        if record.domain != "object" or len(record.images) < 2:
            raise DataError(
                f"record {record.uid} of {store.path} is a {record.domain} of {len(record.images)} views; "
                "this protocol needs objects of at least two"
            )
        condition = condition_index(record.cameras, elevation)
        objects.append(PosedObject(record.uid, *load_views(record, resolution, background), condition))
        on_object(1)
    return objects


class Cases(NamedTuple):
    """A batch of objects, each split into the one view that is shown and the views that are asked for.

    The world of each is turned about z so that its condition camera has azimuth 0.

    Attributes:
        condition_images: `[b, h, w, 3]` in [0, 1].
        condition_alphas: `[b, h, w]` in [0, 1].
        condition_cameras: `[b]`.
        target_images: `[b, t, h, w, 3]` in [0, 1].
        target_alphas: `[b, t, h, w]` in [0, 1].
        target_cameras: `[b, t]`.
        is_target: `[b, t]`, False where an object has fewer views than others and the last one is repeated.
    """

    condition_images: Float[np.ndarray, "b h w 3"]
    condition_alphas: Float[np.ndarray, "b h w"]
    condition_cameras: Cameras
    target_images: Float[np.ndarray, "b t h w 3"]
    target_alphas: Float[np.ndarray, "b t h w"]
    target_cameras: Cameras
    is_target: Bool[np.ndarray, "b t"]


def condition_index(cameras: Cameras, elevation: float) -> int:
    """Returns the view whose camera's elevation is nearest to `elevation` degrees; the first of equals.

    It depends on the stored cameras alone, so every model and every baseline is shown the same picture.
    """
    x, y, z = np.asarray(cameras.camera_to_world, np.float64)[:, :3, 3].T
    return int(np.argmin(np.abs(np.degrees(np.arctan2(z, np.hypot(x, y))) - elevation)))


def make_cases(objects: Sequence[PosedObject], targets: int | None = None) -> Cases:
    """Splits objects into condition and target views.

    Args:
        objects: all of one resolution, each with two views at least.
        targets: length of the target axis; the largest number of target views by default.
    """
    count = max(len(item.images) for item in objects) - 1 if targets is None else targets
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(_split(item, count) for item in objects))


def _split(item: PosedObject, count: int) -> Cases:
    condition = item.condition
    others = np.delete(np.arange(len(item.images)), condition)
    chosen = others[np.minimum(np.arange(count), len(others) - 1)]
    poses = np.asarray(item.cameras.camera_to_world)
    poses = turn_to_azimuth_zero(poses, poses[condition])
    intrinsics = np.asarray(item.cameras.intrinsics, np.float32)
    return Cases(
        condition_images=item.images[condition],
        condition_alphas=item.alphas[condition],
        condition_cameras=Cameras(poses[condition], intrinsics[condition]),
        target_images=item.images[chosen],
        target_alphas=item.alphas[chosen],
        target_cameras=Cameras(poses[chosen], intrinsics[chosen]),
        is_target=np.arange(count) < len(others),
    )


def derangement(count: int) -> Int[np.ndarray, "{count}"]:
    """Returns a permutation of `count` objects that leaves none in place: each is sent half the list away.

    Neighbours in a list are often variants of one thing, so the other half is the fairer stranger.

    Raises:
        ValueError: if there are fewer than two.
    """
    if count < 2:
        raise ValueError("a single object cannot change places with another")
    return np.roll(np.arange(count), -(count // 2))
