"""Records opened for training: checked, decoded where needed, and kept in memory while it lasts."""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from diffgs_jax.data.images import Pictures, decode_premultiplied
from diffgs_jax.data.records import Record
from diffgs_jax.data.store import RecordStore
from diffgs_jax.data.validation import validate_record
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import OBJECT, SCENE, Cameras


class OpenRecord(NamedTuple):
    """A record whose cameras are sound.

    Attributes:
        cameras: `[n]`, as stored.
        domain: `OBJECT` or `SCENE`.
        place: its name, file and number there, for messages.
        views: returns the pictures of the views asked for, or raises a `DataError` that names the first unusable one.
    """

    cameras: Cameras
    domain: int
    place: str
    views: Callable[[Sequence[int]], Pictures]


class RecordReader:
    """Opens records; safe to use from several threads. What it returns or raises does not depend on what it keeps."""

    def __init__(self, size: int | None, gigabytes: float):
        """Starts with nothing in memory.

        Args:
            size: what views are brought to; None keeps their own.
            gigabytes: memory for decoded views.
        """
        self._size, self._room = size, gigabytes * 1e9
        self._kept: dict[tuple[str, int], OpenRecord] = {}
        self._sound: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def open(self, store: RecordStore, index: int) -> OpenRecord:
        """Returns a record, from memory if it was kept.

        Raises:
            DataError: if it cannot be read or its cameras make no sense; its message names the record and its file.
        """
        key = (str(store.path), index)
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        record, place = store[index], store.place(index)
        if key not in self._sound:
            try:
                # Pictures are checked as they are decoded, those of the views that a sample asks for.
                validate_record(record, pictures=False)
            except DataError as error:
                raise DataError(f"{place}: {str(error).removeprefix(f'record {record.uid}: ')}") from None
            self._sound.add(key)
        domain = OBJECT if record.domain == "object" else SCENE
        size = self._size

        def decode(views: Sequence[int]) -> Pictures:
            return [_decode(record, view, size, place) for view in views]

        opened = OpenRecord(record.cameras, domain, place, decode)
        return self._keep(key, opened, len(record.images))

    def _keep(self, key: tuple[str, int], opened: OpenRecord, views: int) -> OpenRecord:
        if self._room <= 0:
            return opened
        pictures: dict[int, np.ndarray] = {}
        broken: dict[int, str] = {}
        for view in range(views):
            try:
                pictures[view] = opened.views([view])[0]
            except DataError as error:
                broken[view] = str(error)
            if view == 0 and sum(picture.nbytes for picture in pictures.values()) * views > self._room:
                self._room = 0  # full: later records are not even tried
                return opened

        def look_up(chosen: Sequence[int]) -> Pictures:
            for view in chosen:
                if view in broken:
                    raise DataError(broken[view])
            return [pictures[view] for view in chosen]

        kept = opened._replace(views=look_up)
        with self._lock:
            size = sum(picture.nbytes for picture in pictures.values())
            if key not in self._kept and size <= self._room:
                self._room -= size
                self._kept[key] = kept
        return kept


def _decode(record: Record, view: int, size: int | None, place: str) -> UInt8[np.ndarray, "s s 4"]:
    try:
        picture = decode_premultiplied(record.images[view], size, opaque=record.domain == "scene")
    except DataError as error:
        raise DataError(f"{place}, view {view}: {error}") from None
    if not picture[..., 3].any():
        raise DataError(f"{place}, view {view} shows nothing: its mask is empty")
    return picture
