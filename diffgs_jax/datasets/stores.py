"""Record stores as a source of records, to be written in another layout."""

import functools
import pathlib
from collections.abc import Iterator

from diffgs_jax.data.records import Record
from diffgs_jax.data.store import RecordStore, open_store, record_count
from diffgs_jax.datasets.lazy_records import LazyRecord, LazyRecords
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.errors import UserError


def read_store(path: pathlib.Path, options: SourceOptions | None = None) -> LazyRecords:
    """Reads a record store, training records first.

    Args:
        path: its folder.
        options: of all sources; the views keep their size.

    Raises:
        UserError: if there is no store, or another size is asked for.
    """
    options = options or SourceOptions()
    if options.size:
        raise UserError("a record store is converted at the size it has: leave --size out")
    stores = [open_store(path, split) for split in ("train", "test") if record_count(path, split)]
    return LazyRecords(item for store in stores for item in _items(store, options))


def _items(store: RecordStore, options: SourceOptions) -> Iterator[LazyRecord]:
    for number, uid in enumerate(store.uids):
        read = functools.partial(_read, store, number, options.maps)
        yield LazyRecord(uid, f"{store.path}", read, store.split)


def _read(store: RecordStore, number: int, maps: bool) -> Record:
    return store[number] if maps else store[number]._replace(maps={})
