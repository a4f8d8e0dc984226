"""Test objects as a protocol reads them: their posed views, in memory."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from diffgs_jax.data import Record, RecordStore, even_sets, load_views, scoring_views
from diffgs_jax.data.maps import decode_depth
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import OBJECT, Cameras, turn_to_azimuth_zero

CONDITION_ELEVATION = 20.0
"""The view that is shown to a model is the stored one nearest to this, degrees: what unposed pictures get."""


class PosedObject(NamedTuple):
    """One object, or one scene, and the views of it that a protocol needs.

    Attributes:
        uid: its name.
        images: `[n, s, s, 3]` in [0, 1], on the background.
        alphas: `[n, s, s]` in [0, 1].
        cameras: `[n]`, an object's in the object frame up to a turn about z, a scene's in the scene frame.
        condition: index of the view that is shown; all the others are asked for.
        depths: `[n, s, s]` planar z in the cameras' units, NaN where it is not known; None if none is.
        denoised: `[v]` cameras of the views to denoise, in the frame of `cameras`; None for the model's own rig.
        domain: `OBJECT` or `SCENE`.
        further: indices of the views that are shown beside it, to models that are shown several.
        turned: whether an object's world is turned so that the condition camera has azimuth 0.
    """

    uid: str
    images: Float[np.ndarray, "n s s 3"]
    alphas: Float[np.ndarray, "n s s"]
    cameras: Cameras
    condition: int
    depths: Float[np.ndarray, "n s s"] | None = None
    denoised: Cameras | None = None
    domain: int = OBJECT
    further: tuple[int, ...] = ()
    turned: bool = True

    @property
    def asked(self) -> Int[np.ndarray, "t"]:
        """Indices of the views that are asked for."""
        return np.setdiff1d(np.arange(len(self.images)), [self.condition, *self.further])


def load_objects(
    store: RecordStore,
    resolution: int,
    indices: Sequence[int] | None = None,
    *,
    background: float = 1.0,
    elevation: float = CONDITION_ELEVATION,
    condition_view: int | None = None,
    target_views: Sequence[int] | None = None,
    max_views: int | None = None,
    shown_views: int = 1,
    turned: bool = True,
    on_object: Callable[[int], object] = lambda objects: None,
) -> list[PosedObject]:
    """Reads objects whole.

    Args:
        store: one split of a dataset.
        resolution: height and width that views are brought to, pixels.
        indices: which records; all by default.
        background: grey level in [0, 1] that the views are composited on.
        elevation: of the condition views, degrees; see `condition_index`.
        condition_view: number of the stored view that is shown, the same for all; by `elevation` if None.
        target_views: numbers of the stored views that are asked for; all but the one that is shown if None.
        max_views: ask for no more views of an object than this, spread evenly over the others.
        shown_views: how many views are shown. Of several, the first is the condition view, and all are at steps of
            azimuth as equal as there are, and those of no ring are asked for (`data.scoring_views`); with a
            `condition_view`, it and those nearest to such steps from it are shown.
        turned: see `PosedObject`; False for models whose objects keep the axes of their records.
        on_object: called with 1 after every object.

    Raises:
        DataError: if a record is corrupt, is a scene, or has not the views asked for.
    """
    objects: list[PosedObject] = []
    for index in range(len(store)) if indices is None else indices:
        record = store[index]
        if record.domain != "object" or len(record.images) < 2:
            raise DataError(
                f"record {record.uid} of {store.path} is a {record.domain} of {len(record.images)} views; "
                "this protocol needs objects of at least two"
            )
        (shown, *further), others = _split_views(record, elevation, condition_view, shown_views, store)
        asked = [view for view in target_views or others if view not in (shown, *further)]
        if not asked or not all(0 <= view < len(record.images) for view in [shown, *asked]):
            raise DataError(f"record {record.uid} of {store.path} has {len(record.images)} views; others are asked for")
        kept = sorted([shown, *further, *(asked[i] for i in spread(len(asked), max_views or len(asked)))])
        images, alphas, cameras = load_views(record, resolution, background)
        objects.append(
            PosedObject(
                record.uid,
                images[kept],
                alphas[kept],
                Cameras(*(np.asarray(array)[kept] for array in cameras)),
                kept.index(shown),
                load_depths(record, resolution, kept),
                further=tuple(kept.index(view) for view in further),
                turned=turned,
            )
        )
        on_object(1)
    return objects


def _split_views(
    record: Record, elevation: float, condition_view: int | None, count: int, store: RecordStore
) -> tuple[list[int], list[int]]:
    """Returns the views of a record that are shown, the condition view first, and those that may be asked for."""
    everything = list(range(len(record.images)))
    if count == 1:
        shown = condition_index(record.cameras, elevation) if condition_view is None else condition_view
        return [shown], everything
    poses = np.asarray(record.cameras.camera_to_world)
    if condition_view is None:
        chosen, asked = scoring_views(poses, count)
        return chosen.tolist(), asked.tolist()
    sets = [one.tolist() for one in even_sets(poses, count) if one[0] == condition_view]
    if not sets:
        raise DataError(f"record {record.uid} of {store.path} has no {count} views around it from {condition_view} on")
    return sets[0], everything


def load_depths(record: Record, resolution: int, views: Sequence[int]) -> Float[np.ndarray, "n s s"] | None:
    """Returns the depth of some of a record's views, or None where it has no map of it.

    Brought to another size by taking the depth under each pixel's centre: a mean of two surfaces is neither.

    Args:
        record: one of a store.
        resolution: height and width, pixels.
        views: which.

    Raises:
        DataError: if a map cannot be decoded.
    """
    if "depth" not in record.maps:
        return None
    depth = decode_depth(record.maps["depth"], views)
    rows, columns = (((np.arange(resolution) + 0.5) * side / resolution).astype(int) for side in depth.shape[1:])
    return depth[:, rows[:, None], columns[None, :]]


def spread(total: int, count: int) -> list[int]:
    """Returns `count` different indices spread evenly over `total`, or all of them."""
    count = min(count, total)
    return (np.arange(count) * total // max(count, 1)).tolist()


class Cases(NamedTuple):
    """A batch of objects, each split into the one view that is shown and the views that are asked for.

    The world of an object is turned about z so that its condition camera has azimuth 0.

    Attributes:
        condition_images: `[b, h, w, 3]` in [0, 1].
        condition_alphas: `[b, h, w]` in [0, 1].
        condition_cameras: `[b]`.
        target_images: `[b, t, h, w, 3]` in [0, 1].
        target_alphas: `[b, t, h, w]` in [0, 1].
        target_cameras: `[b, t]`.
        is_target: `[b, t]`, False where an object has fewer views than others and the last one is repeated.
        domain: `[b]`, `OBJECT` or `SCENE`.
        target_depths: `[b, t, h, w]` planar z, NaN where it is not known; None if none is.
        denoised_cameras: `[b, v]` of the views to denoise; None for the model's own rig.
        further_images: `[b, k, h, w, 3]` of the views that are shown beside the condition view; None if none are.
        further_alphas: `[b, k, h, w]`, theirs.
        further_cameras: `[b, k]`, theirs.
    """

    condition_images: Float[np.ndarray, "b h w 3"]
    condition_alphas: Float[np.ndarray, "b h w"]
    condition_cameras: Cameras
    target_images: Float[np.ndarray, "b t h w 3"]
    target_alphas: Float[np.ndarray, "b t h w"]
    target_cameras: Cameras
    is_target: Bool[np.ndarray, "b t"]
    domain: Int32[np.ndarray, "b"]
    target_depths: Float[np.ndarray, "b t h w"] | None = None
    denoised_cameras: Cameras | None = None
    further_images: Float[np.ndarray, "b k h w 3"] | None = None
    further_alphas: Float[np.ndarray, "b k h w"] | None = None
    further_cameras: Cameras | None = None


def condition_index(cameras: Cameras, elevation: float) -> int:
    """Returns the view whose camera's elevation is nearest to `elevation` degrees; the first of equals.

    It depends on the stored cameras alone, so every model and every baseline is shown the same picture.
    """
    x, y, z = np.asarray(cameras.camera_to_world, np.float64)[:, :3, 3].T
    return int(np.argmin(np.abs(np.degrees(np.arctan2(z, np.hypot(x, y))) - elevation)))


def shown_again(objects: Sequence[PosedObject]) -> list[PosedObject]:
    """Returns objects of which the views that are shown are asked for: how well a model repeats what it was given."""
    found = []
    for item in objects:
        views = [item.condition, *item.further] * 2
        count = len(views) // 2
        found.append(
            item._replace(
                images=item.images[views],
                alphas=item.alphas[views],
                cameras=Cameras(*(np.asarray(leaf)[views] for leaf in item.cameras)),
                condition=0,
                depths=None if item.depths is None else item.depths[views],
                further=tuple(range(1, count)),
            )
        )
    return found


def make_cases(objects: Sequence[PosedObject], targets: int | None = None) -> Cases:
    """Splits objects into condition and target views.

    Args:
        objects: all of one resolution, each with two views at least.
        targets: length of the target axis; the largest number of target views by default.
    """
    count = max(len(item.asked) for item in objects) if targets is None else targets
    if any(item.depths is not None for item in objects):  # what some have, all must have, to be one batch
        objects = [
            item._replace(depths=np.full(item.alphas.shape, np.nan, np.float32)) if item.depths is None else item
            for item in objects
        ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(_split(item, count) for item in objects))


def _split(item: PosedObject, count: int) -> Cases:
    condition = item.condition
    others, further = item.asked, list(item.further)
    chosen = others[np.minimum(np.arange(count), len(others) - 1)]
    poses = np.asarray(item.cameras.camera_to_world)
    if item.domain == OBJECT and item.turned:
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
        domain=np.asarray(item.domain, np.int32),
        target_depths=None if item.depths is None else item.depths[chosen],
        denoised_cameras=item.denoised,
        further_images=item.images[further] if further else None,
        further_alphas=item.alphas[further] if further else None,
        further_cameras=Cameras(poses[further], intrinsics[further]) if further else None,
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
