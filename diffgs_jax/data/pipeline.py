"""From a record store to training batches, ahead of the training step and off its thread.

What a batch holds is a pure function of (settings, step): the order of records, the choice of views and the substitute
of an unreadable record. So a run goes on exactly where it was stopped, on any number of hosts and threads.
"""

import dataclasses
import logging
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import grain
import numpy as np
from jaxtyping import UInt8

from diffgs_jax.data.batch import Batch
from diffgs_jax.data.config import DataConfig
from diffgs_jax.data.images import composite
from diffgs_jax.data.record_views import decode_views
from diffgs_jax.data.split import Split
from diffgs_jax.data.store import RecordStore, open_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT, SCENE, Cameras, Views, turn_to_azimuth_zero

_log = logging.getLogger(__name__)
_ENDLESS = 2**40


class _Sample(NamedTuple):
    """Views of one record: premultiplied pictures `[v, s, s, 4]`, cameras `[v]`, its domain and number."""

    pictures: UInt8[np.ndarray, "v s s 4"]
    cameras: Cameras
    domain: int
    record: int


class TrainingBatches(Iterator[Batch]):
    """An endless iterator of batches that can be stopped and continued exactly.

    Attributes:
        config: its settings.
        store: where the records come from.
    """

    def __init__(self, config: DataConfig, store: RecordStore, process_index: int, process_count: int):
        """Use `training_batches`."""
        self.config, self.store = config, store
        self._samples = _Samples(config, store)
        local = config.batch_size // process_count
        first = process_index * local

        def batch_of(step: int) -> Batch:
            start = step * config.batch_size + first
            return _collate([self._samples[position] for position in range(start, start + local)], config)

        options = grain.ReadOptions(
            num_threads=config.threads, prefetch_buffer_size=max(config.prefetch, config.threads)
        )
        self._iterator = iter(grain.MapDataset.range(_ENDLESS).map(batch_of).to_iter_dataset(options))

    def __next__(self) -> Batch:
        """Returns the next batch.

        Raises:
            DataError: if more than `max_bad_records` records were unreadable.
        """
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` needs to continue after the last batch handed out, as plain JSON values."""
        return {"settings": _identity(self.config, self.store), "iterator": self._iterator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues where `get_state` was called.

        Raises:
            UserError: if the state belongs to other data or other settings, which would silently be other batches.
        """
        here, there = _identity(self.config, self.store), state.get("settings", {})
        changed = [f"{key} {there.get(key)!r} → {value!r}" for key, value in here.items() if there.get(key) != value]
        if changed:
            raise UserError(f"the data settings changed since the checkpoint ({', '.join(changed)}): change them back")
        self._iterator.set_state(state["iterator"])

    def close(self) -> None:
        """Stops reading ahead."""
        self._iterator.close()

    @property
    def bad_records(self) -> list[str]:
        """Names of the records that could not be read so far and were replaced by others."""
        return self._samples.bad_records


def training_batches(
    config: DataConfig, *, split: Split = "train", process_index: int = 0, process_count: int = 1
) -> TrainingBatches:
    """Opens a dataset for training.

    Args:
        config: which data, and how a batch is made of it.
        split: the side of the split to read.
        process_index: this host's number; it gets its part of every batch, in order.
        process_count: number of hosts.

    Raises:
        UserError: if the settings contradict each other or the dataset is not there.
        DataError: if the dataset is damaged.
    """
    _check(config, process_count)
    return TrainingBatches(config, open_store(config.path, split), process_index, process_count)


class _Samples:
    """Samples by their position in the endless order of all hosts; keeps decoded views while memory lasts."""

    def __init__(self, config: DataConfig, store: RecordStore):
        self._config, self._store = config, store
        self._order = grain.MapDataset.range(len(store)).seed(config.seed).shuffle().repeat()
        self._views = config.condition_views + config.noisy_views + config.novel_views
        self._cache: dict[int, tuple[np.ndarray, Cameras, int]] = {}
        self._room = config.cache_gigabytes * 1e9
        self._bad: dict[int, str] = {}
        self._lock = threading.Lock()

    @property
    def bad_records(self) -> list[str]:
        return [self._store.uids[index] for index in sorted(self._bad)]

    def __getitem__(self, position: int) -> _Sample:
        record = self._order[position]
        assert record is not None  # grain allows for filtered elements; there are none
        # The next readable record stands in, so the substitute does not depend on what was met before.
        for _ in range(len(self._store)):
            try:
                if record in self._bad:
                    raise DataError(self._bad[record])
                return self._read(record, np.random.default_rng([self._config.seed, position]))
            except DataError as error:
                self._report(record, error)
                record = (record + 1) % len(self._store)
        raise DataError(f"no record of {self._store.path} can be read")

    def _read(self, index: int, random: np.random.Generator) -> _Sample:
        resolution = self._config.resolution
        if index in self._cache:
            pictures, cameras, domain = self._cache[index]
            selection = self._select(len(pictures), random)
            pictures = pictures[selection]
        else:
            record = self._store[index]
            cameras, domain = record.cameras, OBJECT if record.domain == "object" else SCENE
            selection = self._select(len(record.images), random)
            if self._reserve(len(record.images) * resolution**2 * 4):
                every = decode_views(record, resolution)
                self._cache[index] = every, cameras, domain
                pictures = every[selection]
            else:
                pictures = decode_views(record, resolution, selection.tolist())
        poses = np.asarray(cameras.camera_to_world)[selection]
        if domain == OBJECT:
            poses = turn_to_azimuth_zero(poses, poses[0])
        return _Sample(pictures, Cameras(poses, cameras.intrinsics[selection]), domain, index)

    def _select(self, available: int, random: np.random.Generator) -> np.ndarray:
        if available < self._views:
            raise DataError(f"only {available} views of the {self._views} a sample needs")
        return random.choice(available, self._views, replace=False)

    def _reserve(self, size: int) -> bool:
        with self._lock:
            if self._room < size:
                return False
            self._room -= size
            return True

    def _report(self, index: int, error: DataError) -> None:
        with self._lock:
            if index in self._bad:
                return
            self._bad[index] = str(error)
            count, limit = len(self._bad), self._config.max_bad_records
        name = self._store.uids[index]
        _log.warning("unreadable record %s is replaced by another (%d so far): %s", name, count, error)
        if count > limit:
            raise DataError(f"{count} unreadable records, more than max_bad_records = {limit}; the last: {error}")


def _collate(samples: list[_Sample], config: DataConfig) -> Batch:
    images, alphas = composite(np.stack([sample.pictures for sample in samples]), config.background)
    poses = np.stack([sample.cameras.camera_to_world for sample in samples])
    intrinsics = np.stack([sample.cameras.intrinsics for sample in samples])
    domain = np.asarray([sample.domain for sample in samples], np.int32)
    flags = np.arange(images.shape[1]) < config.condition_views
    is_condition = np.broadcast_to(flags, images.shape[:2])
    inputs = config.condition_views + config.noisy_views

    def views(part: slice) -> Views:
        cameras = Cameras(poses[:, part], intrinsics[:, part])
        return Views(images[:, part], cameras, is_condition[:, part].copy(), domain, alphas[:, part])

    numbers = np.asarray([sample.record for sample in samples], np.int32)
    return Batch(views(slice(0, inputs)), views(slice(inputs, None)), numbers)


def _identity(config: DataConfig, store: RecordStore) -> dict[str, Any]:
    """Returns what decides the batches; threads, memory and the folder's name do not."""
    free = {"path", "cache_gigabytes", "threads", "prefetch", "max_bad_records"}
    decisive = {key: value for key, value in dataclasses.asdict(config).items() if key not in free}
    return {**decisive, "records": len(store)}


def _check(config: DataConfig, process_count: int) -> None:
    counts = {"condition_views": 0, "noisy_views": 0, "novel_views": 0, "batch_size": 1, "resolution": 1, "threads": 0}
    for name, least in counts.items():
        if getattr(config, name) < least:
            raise UserError(f"data.{name} is {getattr(config, name)}; it must be at least {least}")
    if config.condition_views + config.noisy_views < 1:
        raise UserError("data.condition_views and data.noisy_views are both 0; the network needs a view")
    if not 0.0 <= config.background <= 1.0:
        raise UserError(f"data.background is {config.background}; it must be between 0 and 1")
    if config.batch_size % process_count:
        raise UserError(f"data.batch_size {config.batch_size} does not divide among {process_count} hosts")
