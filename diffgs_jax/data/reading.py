"""Records opened for training: checked, decoded where needed, and kept in memory while it lasts."""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffgs_jax.data.images import decode_premultiplied
from diffgs_jax.data.maps import decode_depth
from diffgs_jax.data.records import Record
from diffgs_jax.data.store import RecordStore
from diffgs_jax.data.validation import validate_record
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import OBJECT, SCENE, Cameras


class DecodedView(NamedTuple):
    """One view as training reads it.

    Attributes:
        picture: RGBA, colours multiplied by their alpha.
        depth: planar z in the units of the record, NaN where there is none; None if it is not wanted or not there.
    """

    picture: UInt8[np.ndarray, "s s 4"]
    depth: Float[np.ndarray, "t t"] | None = None


class OpenRecord(NamedTuple):
    """A record whose cameras are sound.

    Attributes:
        cameras: `[n]`, as stored.
        domain: `OBJECT` or `SCENE`.
        place: its name, file and number there, for messages.
        views: returns the views asked for, or raises a `DataError` that names the first unusable one.
    """

    cameras: Cameras
    domain: int
    place: str
    views: Callable[[Sequence[int]], list[DecodedView]]


class RecordReader:
    """Opens records; safe to use from several threads. What it returns or raises does not depend on what it keeps."""

    def __init__(self, size: int | None, gigabytes: float, *, depth: bool = False):
        """Starts with nothing in memory.

        Args:
            size: what views are brought to; None keeps their own.
            gigabytes: memory for decoded views.
            depth: read depth too.
        """
        self._size, self._room, self._depth = size, gigabytes * 1e9, depth
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

        def decode(views: Sequence[int]) -> list[DecodedView]:
            return [_decode(record, view, self._size, place, depth=self._depth) for view in views]

        opened = OpenRecord(record.cameras, domain, place, decode)
        return self._keep(key, opened, len(record.images))

    def _keep(self, key: tuple[str, int], opened: OpenRecord, views: int) -> OpenRecord:
        if self._room <= 0:
            return opened
        decoded: dict[int, DecodedView] = {}
        broken: dict[int, str] = {}
        for view in range(views):
            try:
                decoded[view] = opened.views([view])[0]
            except DataError as error:
                broken[view] = str(error)
            if view == 0 and _size(decoded) * views > self._room:
                self._room = 0  # full: later records are not even tried
                return opened

        def look_up(chosen: Sequence[int]) -> list[DecodedView]:
            for view in chosen:
                if view in broken:
                    raise DataError(broken[view])
            return [decoded[view] for view in chosen]

        kept = opened._replace(views=look_up)
        with self._lock:
            if key not in self._kept and _size(decoded) <= self._room:
                self._room -= _size(decoded)
                self._kept[key] = kept
        return kept


def _size(decoded: dict[int, DecodedView]) -> int:
    return sum(array.nbytes for view in decoded.values() for array in view if array is not None)


def _decode(record: Record, view: int, size: int | None, place: str, *, depth: bool) -> DecodedView:
    try:
        picture = decode_premultiplied(record.images[view], size, opaque=record.domain == "scene")
        if not picture[..., 3].any():
            raise DataError("shows nothing: its mask is empty")
        return DecodedView(picture, _decode_depth(record, view, size) if depth else None)
    except DataError as error:
        raise DataError(f"{place}, view {view}: {error}") from None


def _decode_depth(record: Record, view: int, size: int | None) -> Float[np.ndarray, "t t"] | None:
    if "depth" not in record.maps:
        return None
    depth = decode_depth(record.maps["depth"], [view])[0]
    if depth.shape[0] != depth.shape[1]:
        raise DataError(f"its depth is {depth.shape[1]}×{depth.shape[0]}; maps must be square")
    return depth if size is None else resize_depth(depth, size)


def resize_depth(depth: Float[np.ndarray, "t t"], resolution: int) -> Float[np.ndarray, "s s"]:
    """Returns depth at another size, each pixel's from the stored one it lies in: no mean of near and far."""
    nearest = ((np.arange(resolution) + 0.5) * (len(depth) / resolution)).astype(int)
    return depth[nearest[:, None], nearest]
