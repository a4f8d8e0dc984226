"""A published dataset to a record store: every record checked, bad ones counted and left out, restartable."""

import collections
import concurrent.futures
import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgpack
from tqdm import tqdm

from diffgs_jax.data.records import Record, encode_record
from diffgs_jax.data.split import TEST_PERCENT, Split, split_of
from diffgs_jax.data.store import write_store
from diffgs_jax.data.validation import validate_record
from diffgs_jax.datasets.diffsplat_rows import encoded_row, write_diffsplat
from diffgs_jax.datasets.lazy_records import LazyRecord
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import text_sha256, unfinished_folder, write_bytes


@dataclasses.dataclass(frozen=True)
class ConversionSettings:
    """How a store is made of records."""

    max_bad_records: int = 16
    """Records that may be bad and are left out before the conversion stops."""
    test_percent: float = TEST_PERCENT
    """How many of 100 records are held out where the dataset itself has no split; by a hash of their name."""
    shard_size: int = 256
    """Records in a shard."""
    threads: int = 2
    """Records that are read at a time."""
    most: int = 0
    """Stop after this many records; 0 for all."""
    layout: Literal["store", "diffsplat"] = "store"
    """What is written: a record store, or DiffSplat's parquet rows (objects with depth and normals only)."""


class _Finished(NamedTuple):
    """A record's name, side of the split and file, or (file None) why there is none."""

    uid: str
    split: Split
    file: pathlib.Path | None
    reason: str = ""


def convert(
    items: Iterable[LazyRecord],
    out: pathlib.Path,
    settings: ConversionSettings,
    *,
    description: dict[str, Any],
    test_uids: Collection[str] | None = None,
) -> dict[str, str]:
    """Reads all records, checks them and writes the record store `out`, or a folder of DiffSplat's rows.

    Finished records are kept in a folder beside `out` until all are done; run again after an interruption with the
    same description, it goes on from there.

    Args:
        items: the records to read, each with its dataset's own side of the split or None.
        out: the folder to make.
        settings: of the store.
        description: what the index tells besides: name, layout, size.
        test_uids: the records to hold out; all others are for training. None leaves it to the dataset.

    Returns:
        The records that were left out, with the reason.

    Raises:
        UserError: if `out` exists or cannot be written, or a package is missing.
        DataError: if more records are bad than `max_bad_records`, or none is good.
    """
    if out.exists():
        raise UserError(f"{out} exists already; delete it or choose another --out")
    rows = settings.layout == "diffsplat"
    encode = encoded_row if rows else encode_record
    kept = unfinished_folder(out, {**description, "written": "diffsplat"} if rows else description)

    def finish(item: LazyRecord) -> _Finished:
        split = _side(item, settings, test_uids)
        file = kept / f"{text_sha256(item.uid)[:24]}.msgpack"
        reason = "" if file.exists() else _read_and_keep(item, file, encode)
        return _Finished(item.uid, split, None if reason else file, reason)

    skipped: dict[str, str] = {}
    splits: dict[str, list[tuple[str, Callable[[], bytes]]]] = {"train": [], "test": []}
    licenses, sources = set(), set()
    with tqdm(unit="record", desc="converting") as progress:
        for done in _ahead(finish, _distinct(items, skipped, settings.most), settings.threads):
            progress.update()
            if done.file is None:
                skipped[done.uid] = done.reason
                progress.write(f"left out: {done.reason}")
            else:
                about = msgpack.unpackb(done.file.read_bytes())
                licenses.add(about["license"])
                sources.add(about["source"])
                splits[done.split].append(
                    (done.uid, lambda file=done.file: msgpack.unpackb(file.read_bytes())["record"])
                )
            if len(skipped) > settings.max_bad_records:
                raise DataError(
                    f"{len(skipped)} bad records, more than max_bad_records = {settings.max_bad_records}; "
                    f"the last: {list(skipped.values())[-1]}"
                )
    if not any(splits.values()):
        raise DataError(f"no record could be read; {list(skipped.values())[0] if skipped else 'there is none'}")
    rule = "named by a list" if test_uids is not None else "the dataset's own, else hash of the name"
    index = {
        "source": "; ".join(sorted(filter(None, sources))),
        "license": " AND ".join(sorted(filter(None, licenses))),
        **description,
        "split": {"rule": rule, "test_percent": settings.test_percent},
        "skipped": skipped,
    }
    if rows:
        write_diffsplat(out, splits, shard_size=settings.shard_size)
    else:
        write_store(out, splits, index, shard_size=settings.shard_size)
    shutil.rmtree(kept)
    return skipped


def _distinct(items: Iterable[LazyRecord], skipped: dict[str, str], most: int) -> Iterator[LazyRecord]:
    """Passes records on; a second one of the same name is left out."""
    seen: set[str] = set()
    for item in items:
        if most and len(seen) >= most:
            return
        if item.uid in seen:
            skipped[f"{item.uid} (again)"] = f"{item.place}, record {item.uid}: the name occurred before"
            continue
        seen.add(item.uid)
        yield item


def _side(item: LazyRecord, settings: ConversionSettings, test_uids: Collection[str] | None) -> Split:
    if test_uids is not None:
        return "test" if item.uid in test_uids else "train"
    return item.split or split_of(item.uid, settings.test_percent)


def _read_and_keep(item: LazyRecord, file: pathlib.Path, encode: Callable[[Record], bytes]) -> str:
    """Writes the record's file and returns "", or returns why there is none."""
    try:
        record = item.load()
        try:
            validate_record(record)
        except DataError as error:
            raise DataError(f"{item.place}, {error}") from None
        encoded = encode(record)
    except (DataError, MemoryError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    content = {"license": record.license, "source": record.source, "record": encoded}
    write_bytes(file, msgpack.packb(content))
    return ""


def _ahead(finish: Callable[[LazyRecord], _Finished], items: Iterator[LazyRecord], threads: int) -> Iterator[_Finished]:
    """Maps in order with a few records in hand, so that neither records nor the files they came from pile up."""
    with concurrent.futures.ThreadPoolExecutor(max(1, threads)) as pool:
        waiting: collections.deque[concurrent.futures.Future[_Finished]] = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(finish, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
