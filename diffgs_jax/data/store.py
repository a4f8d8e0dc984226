"""Record stores: a folder of ArrayRecord shards with random access, and a JSON index of them."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from array_record.python.array_record_module import (  # ty: ignore (compiled, without stubs)
    ArrayRecordReader,
    ArrayRecordWriter,
)

from diffgs_jax.data.records import Record, decode_record
from diffgs_jax.data.split import Split
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path, load_json, new_folder, open_regular, text_sha256, write_json

INDEX = "index.json"
_FORMAT = "diffgs_jax records"
_VERSION = 1
_HINTS = {
    "test": ": of few objects none may be held out; train as it is, and evaluate with --split train",
    "train": ": all are held out; make it with --test-percent 0",
}
_LARGEST_INDEX = 2**28  # bytes; a million records have some 50 MB


class RecordStore:
    """The records of one split of a dataset, in a fixed order; `store[i]` reads one, from any thread.

    Attributes:
        path: the folder.
        split: "train" or "test".
        index: all of `index.json`.
        uids: the records' names, in order.
        damaged: what is wrong with each shard that cannot be opened, by its number.
    """

    def __init__(self, path: str | os.PathLike[str], split: Split = "train", *, tolerant: bool = False):
        """Opens the shards.

        Args:
            path: the folder.
            split: "train" or "test".
            tolerant: open what can be opened; only reading a record of another shard is an error then.

        Raises:
            UserError: if there is no such folder, or nothing was put on this side of the split.
            DataError: if the index or (unless `tolerant`) a shard is missing, truncated or foreign.
        """
        self.path, self.split, self._tolerant = pathlib.Path(path), split, tolerant
        self.index = read_index(self.path)
        try:
            part = self.index["splits"][split]
            self.uids: list[str] = list(part["uids"])
            shards = [(self.path / _plain_name(shard["file"]), int(shard["records"])) for shard in part["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.path / INDEX} does not describe a {split} split: {error!r}") from None
        if not self.uids:
            raise UserError(f"the dataset {self.path} has no {split} records{_HINTS.get(split, '')}")
        self.damaged: dict[int, str] = {}
        self._shards: list[tuple[pathlib.Path, ArrayRecordReader | None]] = []
        for number, (file, count) in enumerate(shards):
            try:
                self._shards.append((file, _open_shard(file, count)))
            except DataError as error:
                if not tolerant:
                    raise
                self.damaged[number] = str(error)
                self._shards.append((file, None))
        self._starts = np.cumsum([0] + [count for _, count in shards])
        if self._starts[-1] != len(self.uids):
            raise DataError(f"{self.path / INDEX} names {len(self.uids)} records of {int(self._starts[-1])} in shards")

    def __len__(self) -> int:
        """Returns how many records there are."""
        return len(self.uids)

    def __getitem__(self, index: int) -> Record:
        """Reads one record.

        Raises:
            DataError: if it is corrupt, with its name and file.
            IndexError: if there is no such record.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        reader, place = self._shards[shard][1], self.place(index)
        if reader is None:
            raise DataError(f"{place} is lost: {self.damaged[shard]}")
        try:
            encoded = reader.read([index - int(self._starts[shard])])[0]
        except (RuntimeError, IndexError) as error:
            raise DataError(f"{place} is corrupt: {error}") from None
        try:
            record = decode_record(encoded)
        except DataError as error:
            raise DataError(f"{place} is corrupt: {error}") from None
        if record.uid != self.uids[index]:
            raise DataError(f"{place} holds {record.uid}: the index belongs to other shards")
        return record

    def __iter__(self) -> Iterator[Record]:
        """Reads all records, in order."""
        return (self[index] for index in range(len(self)))

    def place(self, index: int) -> str:
        """Returns a record's name, its file and its number there, for messages."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return f"record {self.uids[index]} ({self._shards[shard][0]}, number {index - int(self._starts[shard])})"

    def records_of(self, shard: int) -> range:
        """Returns the numbers of the records in a shard."""
        return range(int(self._starts[shard]), int(self._starts[shard + 1]))

    def fingerprint(self) -> dict[str, Any]:
        """Returns what tells this split's contents from others without reading them: count, names and size."""
        size = sum(file.stat().st_size for file, _ in self._shards if file.is_file())
        names = text_sha256("\n".join(self.uids))[:16]
        return {"records": len(self), "record_names": names, "shard_bytes": size}

    def __reduce__(self) -> tuple[Any, ...]:
        """Readers do not travel between processes; the folder is opened again there."""
        return functools.partial(RecordStore, tolerant=self._tolerant), (self.path, self.split)


def open_store(path: str | os.PathLike[str], split: Split = "train", *, tolerant: bool = False) -> RecordStore:
    """Opens one split of a dataset; see `RecordStore`."""
    return RecordStore(path, split, tolerant=tolerant)


def record_count(path: pathlib.Path, split: Split) -> int:
    """Returns how many records a dataset has on one side of the split.

    Raises:
        UserError: if there is no such folder.
        DataError: if it has no readable index of this version.
    """
    side = read_index(path).get("splits", {}).get(split, {})
    return len(side.get("uids", ()))


def read_index(path: pathlib.Path) -> dict[str, Any]:
    """Returns the index of a record store.

    Raises:
        UserError: if there is no such folder.
        DataError: if it has no readable index of this version.
    """
    if not checked_path(path).is_dir():
        raise UserError(f"there is no dataset folder {path}")
    file = path / INDEX
    if not file.exists():
        raise DataError(f"{path} has no {INDEX}: not a record store, or one whose making was interrupted")
    index = load_json(file, limit=_LARGEST_INDEX, unreadable=DataError)
    if not isinstance(index, dict) or index.get("format") != _FORMAT:
        raise DataError(f"{file} is not the index of a record store")
    if index.get("version") != _VERSION:
        raise DataError(f"{file} has version {index.get('version')}; this program reads version {_VERSION}")
    return index


def write_store(
    path: pathlib.Path,
    splits: Mapping[str, Sequence[tuple[str, Callable[[], bytes]]]],
    description: dict[str, Any],
    *,
    shard_size: int = 256,
) -> None:
    """Writes a record store beside `path`, then renames it.

    Args:
        path: the folder to make; it must not exist.
        splits: by name ("train", "test"), for each record its uid and a function that returns it encoded.
        description: what else the index tells: name, source, licence, renderer settings.
        shard_size: records in a shard.

    Raises:
        UserError: if `path` exists or cannot be written.
    """
    with new_folder(path) as unfinished:
        index = {"format": _FORMAT, "version": _VERSION, **description, "splits": {}}
        for split, records in splits.items():
            shards = [records[start : start + shard_size] for start in range(0, len(records), shard_size)]
            files = []
            for number, shard in enumerate(shards):
                name = f"{split}-{number:05d}-of-{len(shards):05d}.arrayrecord"
                _write_shard(unfinished / name, shard)
                files.append({"file": name, "records": len(shard)})
            index["splits"][split] = {"shards": files, "uids": [uid for uid, _ in records]}
        write_json(unfinished / INDEX, index)


def _write_shard(file: pathlib.Path, records: Sequence[tuple[str, Callable[[], bytes]]]) -> None:
    # A group of one makes random access read no more than its record; the images are compressed already.
    writer = ArrayRecordWriter(str(file), "group_size:1,uncompressed")
    for _, encoded in records:
        writer.write(encoded())
    writer.close()


def _plain_name(name: str) -> str:
    """Returns a name of a file in the store's own folder."""
    if pathlib.PurePath(name).name != name or len(name) > 255:
        raise ValueError(f"{name} is not the name of a shard")
    return name


def _open_shard(file: pathlib.Path, expected: int) -> ArrayRecordReader:
    if not file.exists():
        raise DataError(f"the shard {file} is missing")
    with open_regular(file, unreadable=DataError):  # the reader would wait for a pipe
        pass
    try:
        reader = ArrayRecordReader(str(file), "readahead_buffer_size:0")
        found = reader.num_records() if reader.ok() else 0
    except RuntimeError as error:
        raise DataError(f"the shard {file} is truncated or no ArrayRecord file: {error}") from None
    if found != expected:
        raise DataError(f"the shard {file} is truncated: {found} of {expected} records can be read; fetch it again")
    return reader
