"""Says in one line whether the poses of a dataset make sense.

    python -m diffgs_jax.datasets.check data/my_capture

PATH is a record store or any dataset that `scripts/convert_dataset.py` reads. Where there is depth, each view's is
unprojected into the others; else the silhouettes of objects are compared with their visual hull, and features of scenes
with their epipolar lines. Exit code 0: they make sense; 1: they do not, or a record is bad; 2: nothing to check.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import tyro

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data.records import Record
from diffgs_jax.data.store import INDEX, RecordStore, read_index
from diffgs_jax.data.validation import validate_record
from diffgs_jax.datasets import SourceName, open_source, recognise_source
from diffgs_jax.datasets.consistency import Agreement, agreement
from diffgs_jax.errors import DataError, UserError, report_errors


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to check."""

    path: Annotated[pathlib.Path, tyro.conf.Positional]
    """A record store, or a dataset in its published layout."""
    source: SourceName | None = None
    """The layout; recognised by default."""
    records: int = 8
    """How many records are looked at: evenly spread in a store, the first of a published dataset."""


def main(arguments: Arguments) -> bool:
    """Prints the verdict and returns whether the poses make sense."""
    found: list[tuple[str, Agreement]] = []
    bad: list[str] = []
    for load in _records(arguments):
        try:
            record = load()
            validate_record(record)
            found.append((record.uid, agreement(record)))
        except DataError as error:
            bad.append(" ".join(str(error).split()))
    if not found and not bad:
        raise UserError(f"{arguments.path} holds no record")
    verdict = _verdict(found, bad)
    print(f"{arguments.path}: {verdict}")
    return not bad and all(one.makes_sense for _, one in found)


def _verdict(found: list[tuple[str, Agreement]], bad: list[str]) -> str:
    if bad:
        return f"{len(bad)} of {len(bad) + len(found)} records are bad, the first: {bad[0]}"
    wrong = [(uid, one) for uid, one in found if not one.makes_sense]
    if wrong:
        uid, one = min(wrong, key=lambda pair: pair[1].score)
        return (
            f"the poses of {len(wrong)} of {len(found)} records make no sense; the worst, {uid}: only "
            f"{100 * one.score:.1f} % {one.what}"
        )
    uid, one = min(found, key=lambda pair: pair[1].score)
    return f"the poses make sense: at least {100 * one.score:.1f} % {one.what} ({len(found)} records)"


def _records(arguments: Arguments) -> Iterator[Callable[[], Record]]:
    path = arguments.path
    if not path.exists():
        raise UserError(f"there is no {path}")
    if arguments.source is None and (path / INDEX).is_file() and _is_store(path):
        yield from _stored(path, arguments.records)
        return
    source = arguments.source or recognise_source(path)
    if source is None:
        raise UserError(f"{path} is neither a record store nor a dataset in a known layout; name it with --source")
    items = open_source(source, path).items
    for _ in range(arguments.records):
        item = next(items, None)
        if item is None:
            return
        yield item.load


def _is_store(path: pathlib.Path) -> bool:
    try:
        read_index(path)
    except DataError:
        return recognise_source(path) is None
    return True


def _stored(path: pathlib.Path, most: int) -> Iterator[Callable[[], Record]]:
    index = read_index(path)
    stores = [RecordStore(path, split) for split in ("train", "test") if index["splits"].get(split, {}).get("uids")]
    places = [(store, number) for store in stores for number in range(len(store))]
    for place in np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)) if places else []:
        store, number = places[place]
        yield lambda store=store, number=number: store[number]


if __name__ == "__main__":
    with report_errors():
        if not main(parse_options(Arguments, prog="python -m diffgs_jax.datasets.check", description=__doc__)):
            raise SystemExit(1)
