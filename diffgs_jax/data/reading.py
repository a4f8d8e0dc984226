"""Records opened for training: checked, decoded where needed, and kept in memory while it lasts."""

import threading
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from diffgs_jax.data.images import decode_premultiplied
from diffgs_jax.data.labels import find_label
from diffgs_jax.data.maps import decode_depth, decode_normal_codes
from diffgs_jax.data.records import Record, RecordSource
from diffgs_jax.data.validation import validate_record
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import OBJECT, SCENE, Cameras
from diffgs_jax.models import MapName


class DecodedView(NamedTuple):
    """One view as training reads it.

    Attributes:
        image: RGBA, colours multiplied by their alpha.
        depth: planar z in the units of the record, NaN where there is none; None if it is not wanted or not there.
        normals: codes of unit normals in the world of the record (`normals_from_codes`); None as depth.
    """

    image: UInt8[np.ndarray, "s s 4"]
    depth: Float[np.ndarray, "t t"] | None = None
    normals: UInt8[np.ndarray, "t t 3"] | None = None


class OpenRecord(NamedTuple):
    """A record whose cameras are sound.

    Attributes:
        cameras: `[n]`, as stored.
        domain: `OBJECT` or `SCENE`.
        caption: what it shows, in words; "" where nothing is said.
        label: its class, −1 for none.
        gaussians: `[n, 14]` fitted to it, as stored; None if it has none.
        place: its name, file and number there, for messages.
        views: returns the views asked for, or raises a `DataError` that names the first unusable one.
    """

    cameras: Cameras
    domain: int
    caption: str
    label: int
    gaussians: Float[np.ndarray, "n 14"] | None
    place: str
    views: Callable[[Sequence[int]], list[DecodedView]]


class RecordReader:
    """Opens records; safe to use from several threads. What it returns or raises does not depend on what it keeps."""

    def __init__(
        self, size: int | None, gigabytes: float, *, maps: Collection[MapName] = (), labels: Sequence[str] = ()
    ):
        """Starts with nothing in memory.

        Args:
            size: what views are brought to; None keeps their own.
            gigabytes: memory for decoded views.
            maps: which are read too.
            labels: names of the classes.
        """
        self._size, self._room, self._maps, self._labels = size, gigabytes * 1e9, frozenset(maps), tuple(labels)
        self._kept: dict[tuple[str, int], OpenRecord] = {}
        self._sound: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def open(self, store: RecordSource, index: int) -> OpenRecord:
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
                # Images are checked as they are decoded, those of the views that a sample asks for.
                validate_record(record, images=False)
            except DataError as error:
                raise DataError(f"{place}: {str(error).removeprefix(f'record {record.uid}: ')}") from None
            self._sound.add(key)
        domain = OBJECT if record.domain == "object" else SCENE

        def decode(views: Sequence[int]) -> list[DecodedView]:
            return [_decode(record, view, self._size, place, self._maps) for view in views]

        label = find_label(record, self._labels)
        opened = OpenRecord(record.cameras, domain, record.caption or "", label, record.gaussians, place, decode)
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


def _decode(record: Record, view: int, size: int | None, place: str, maps: Collection[MapName]) -> DecodedView:
    try:
        image = decode_premultiplied(record.images[view], size, opaque=record.domain == "scene")
        if not image[..., 3].any():
            raise DataError("shows nothing: its mask is empty")
        depth = normals = None
        if "depth" in maps and "depth" in record.maps:
            depth = _fit(decode_depth(record.maps["depth"], [view])[0], size, "depth is")
        if "normals" in maps and "normals" in record.maps:
            normals = _fit(decode_normal_codes(record.maps["normals"], [view])[0], size, "normals are")
        return DecodedView(image, depth, normals)
    except DataError as error:
        raise DataError(f"{place}, view {view}: {error}") from None


def _fit(values: np.ndarray, size: int | None, what: str) -> np.ndarray:
    if values.shape[0] != values.shape[1]:
        raise DataError(f"its {what} {values.shape[1]}×{values.shape[0]}; maps must be square")
    return values if size is None else resize_map(values, size)


def resize_map(values: Shaped[np.ndarray, "t t *c"], resolution: int) -> Shaped[np.ndarray, "s s *c"]:
    """Returns a map at another size, each pixel's value from the stored one it lies in: no mean of near and far."""
    nearest = ((np.arange(resolution) + 0.5) * (len(values) / resolution)).astype(int)
    return values[nearest[:, None], nearest]
