"""Samples: the views of one record as training reads them, as a function of a position in the endless data order.

A sample depends on the settings and its position alone, never on what was read before, in which thread or from memory.
So a record that cannot be used is met again at its next turn, and replaced by the same other record again.
"""

import logging
import threading
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffgs_jax.data.augmentation import Maps, change_cameras, change_images, change_maps, change_normals, draw_change
from diffgs_jax.data.config import CameraAugmentation, DataConfig
from diffgs_jax.data.images import Images
from diffgs_jax.data.maps import normals_from_codes
from diffgs_jax.data.mixing import Sources
from diffgs_jax.data.reading import RecordReader
from diffgs_jax.data.scene_frame import to_scene_frame
from diffgs_jax.data.view_selection import NoViewsWithinLimits, ViewCounts, choose_views, fixed_view
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT, Cameras, turn_to_azimuth_zero
from diffgs_jax.models import MapName

_log = logging.getLogger(__name__)

LONGEST_SEARCH = 1000
"""After so many records in a row without views within the limits, the limits are taken to be the mistake."""


class Sample(NamedTuple):
    """Views of one record: condition views, then noisy, then novel ones.

    Attributes:
        images: one for each view, `[s, s, 4]`, colours multiplied by their alpha.
        cameras: `[v]`, float32, in the frame the network sees.
        domain: `OBJECT` or `SCENE`.
        record: its number, counted through all sources.
        background: RGB in [0, 1] that the images are to be seen on.
        depths: one for each view, `[s, s]`, planar z in the units of the cameras; None where there is none.
        normals: one for each view, `[s, s, 3]`, unit vectors in the world of the cameras; None where there is none.
        caption: of the record, "" where nothing is said.
        label: the class of the record, −1 for none.
        choice: which of the record's choices of views it is; 0 where every use chooses anew.
        gaussians: `[n, 14]` fitted to the record; None if it has none.
        conditions: how many of the views are condition views; the others are counted as the settings say.
    """

    images: Images
    cameras: Cameras
    domain: int
    record: int
    background: Float[np.ndarray, "3"]
    depths: Maps
    normals: Maps
    caption: str
    label: int
    choice: int
    gaussians: Float[np.ndarray, "n 14"] | None
    conditions: int


class Samples:
    """Samples by their position; safe to use from several threads."""

    def __init__(self, config: DataConfig, sources: Sources, maps: Collection[MapName] = (), slots: int = 0):
        """Counts what damaged shards have lost already.

        Args:
            config: how samples are made.
            sources: of what.
            maps: which maps are read.
            slots: most fitted Gaussians of a record, which all must have; 0 where they are not looked at.

        Raises:
            DataError: if that is more than `max_bad_records`.
        """
        self.config, self.sources, self._slots = config, sources, slots
        self.counts = ViewCounts(config.condition_views, config.noisy_views, config.novel_views)
        self._augmented = config.augmentation != CameraAugmentation()
        resampled = config.augmentation.roll > 0 or config.augmentation.crop < 1
        size = None if resampled else config.resolution
        self._reader = RecordReader(size, config.cache_gigabytes, maps=maps, labels=config.labels)
        self._bad: set[tuple[int, int]] = set()
        self._outside_limits: set[tuple[int, int]] = set()
        self._lock = threading.Lock()
        for number, store in enumerate(sources.stores):
            for shard, reason in store.damaged.items():
                lost = store.records_of(shard)
                self._bad |= {(number, index) for index in lost}
                _log.warning("%s; others are read in place of its %d records", reason, len(lost))
                self._check_limit(reason)

    @property
    def bad_records(self) -> list[str]:
        """Names of the records that could not be used so far and were replaced by others."""
        return self._names(self._bad)

    @property
    def records_outside_limits(self) -> list[str]:
        """Names of the records that were replaced so far because no choice of their views is within the limits."""
        return self._names(self._outside_limits)

    def __getitem__(self, position: int) -> Sample:
        """Returns the sample at a position of the order of all hosts.

        Raises:
            DataError: if more than `max_bad_records` records cannot be used.
            UserError: if the view limits fit none of the records.
        """
        source, first = self.sources.at(position)
        store = self.sources.stores[source]
        for attempt in range(min(len(store), LONGEST_SEARCH)):
            # The next usable record stands in, so the substitute does not depend on what was met before.
            index = (first + attempt) % len(store)
            try:
                return self._sample(source, index, position)
            except NoViewsWithinLimits as error:
                self._report_limits(source, index, error)
            except DataError as error:
                self._report_bad(source, index, error)
        if self._outside_limits:
            raise UserError(
                f"records {first} to {index} of {store.path} have no choice of views within data.object_limits and "
                "data.scene_limits: widen them"
            )
        raise DataError(f"no record of {store.path} can be read")

    def of_choice(self, source: int, index: int, choice: int) -> Sample:
        """Returns the sample that one of the `choices` of a record's views is.

        Raises:
            DataError: if the record cannot be used.
        """
        return self._sample(source, index, 0, choice)

    def _sample(self, source: int, index: int, position: int, choice: int | None = None) -> Sample:
        config = self.config
        number = self.sources.first[source] + index
        record = self._reader.open(self.sources.stores[source], index)
        limits = config.object_limits if record.domain == OBJECT else config.scene_limits
        random = np.random.default_rng([config.seed, position])
        if config.choices:
            choice = int(random.integers(config.choices)) if choice is None else choice
            random = np.random.default_rng([config.seed, number, choice, 2])
        if self._slots and record.gaussians is None:
            raise DataError(f"{record.place} holds no fitted Gaussians: make some with scripts/gsd/fit_objects.py")
        if self._slots and record.gaussians is not None and len(record.gaussians) > self._slots:
            raise DataError(
                f"{record.place} holds a set of {len(record.gaussians)} Gaussians; the model has {self._slots} slots"
            )
        try:
            stored = np.asarray(record.cameras.camera_to_world)
            counts = self._counts_at(position)
            if config.view_choice.kind == "fixed_view":
                chosen = np.asarray([fixed_view(self.sources.stores[source].uids[index], len(stored))])
            else:
                chosen = choose_views(stored, counts, limits, random, config.view_choice)
        except DataError as error:
            raise type(error)(f"{record.place}: {error}") from None
        views = record.views(chosen.tolist())
        images, depths = [view.image for view in views], [view.depth for view in views]
        normals = [None if view.normals is None else normals_from_codes(view.normals) for view in views]

        poses, intrinsics = (np.asarray(array)[chosen] for array in record.cameras)
        before = poses[0]
        if record.domain == OBJECT:
            poses = turn_to_azimuth_zero(poses, poses[0]) if config.object_frame == "first_view" else poses
        else:
            inputs = self.counts.condition + self.counts.noisy
            poses, scale = to_scene_frame(poses, inputs, frame=config.scene_frame, extent=config.scene_extent)
            depths = [None if depth is None else depth * np.float32(scale) for depth in depths]
        normals = _turn(normals, before, poses[0])
        cameras = Cameras(poses, intrinsics)

        # Draws of their own, so that what is switched on here leaves the choice of views alone.
        random = np.random.default_rng([config.seed, position, 1])
        background = np.full(3, config.background, np.float32)
        if random.random() < config.random_background and record.domain == OBJECT:
            background = random.random(3, np.float32)
        if self._augmented:
            change = draw_change(config.augmentation, len(chosen), record.domain, random)
            images = change_images(change, images, intrinsics, config.resolution)
            depths = change_maps(change, depths, intrinsics, config.resolution)
            normals = change_normals(change, normals, intrinsics, config.resolution, record.domain)
            cameras = change_cameras(change, cameras, record.domain)
        about = record.caption, record.label, choice or 0, record.gaussians
        return Sample(images, cameras, record.domain, number, background, depths, normals, *about, counts.condition)

    def _counts_at(self, position: int) -> ViewCounts:
        """Returns how many views of each part a sample has, the drawn ones by a draw of its own."""
        fewest, counts = self.config.fewest_condition_views, self.counts
        if fewest is None:
            return counts
        random = np.random.default_rng([self.config.seed, position, 2])
        condition = int(random.integers(fewest, counts.condition + 1))
        return ViewCounts(condition, counts.noisy + counts.condition - condition, counts.novel)

    def _report_bad(self, source: int, index: int, error: DataError) -> None:
        with self._lock:
            known = (source, index) in self._bad
            self._bad.add((source, index))
        if not known:
            _log.warning("%s; another is read in its place (%d unreadable records so far)", error, len(self._bad))
        self._check_limit(str(error))

    def _report_limits(self, source: int, index: int, error: NoViewsWithinLimits) -> None:
        with self._lock:
            if (source, index) in self._outside_limits:
                return
            self._outside_limits.add((source, index))
        count = len(self._outside_limits)
        _log.warning("%s; another is read in its place (%d records outside the limits so far)", error, count)

    def _check_limit(self, last: str) -> None:
        count, limit = len(self._bad), self.config.max_bad_records
        if count > limit:
            raise DataError(f"{count} unreadable records, more than max_bad_records = {limit}; the last: {last}")

    def _names(self, records: set[tuple[int, int]]) -> list[str]:
        with self._lock:  # other threads may be adding to it
            known = sorted(records)
        return [self.sources.stores[source].uids[index] for source, index in known]


def _turn(normals: Maps, before: Float[np.ndarray, "4 4"], after: Float[np.ndarray, "4 4"]) -> Maps:
    """Turns normals as the world was turned: a camera's pose before and after says how."""
    turn = after[:3, :3].astype(np.float64) @ np.linalg.inv(before[:3, :3].astype(np.float64))
    return [None if one is None else (one @ turn.T).astype(np.float32) for one in normals]
