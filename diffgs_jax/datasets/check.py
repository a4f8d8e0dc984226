"""Whether the poses of a dataset make sense, in one line."""

import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from diffgs_jax.data.records import Record
from diffgs_jax.data.store import INDEX, RecordStore, read_index
from diffgs_jax.data.validation import validate_record
from diffgs_jax.datasets.consistency import Agreement, agreement
from diffgs_jax.datasets.options import SourceName
from diffgs_jax.datasets.recognition import open_source, recognise_source
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path


class Verdict(NamedTuple):
    """What was found about a dataset.

    Attributes:
        makes_sense: whether all the records looked at are sound and their poses make sense.
        text: says so in one line, with a number.
    """

    makes_sense: bool
    text: str


def check_poses(path: pathlib.Path, source: SourceName | None = None, *, most: int = 8) -> Verdict:
    """Looks whether the views of some records agree about one world each (`agreement`).

    Args:
        path: a record store, or a dataset in its published layout.
        source: the layout; recognised by default.
        most: how many records are looked at: evenly spread in a store, the first of a published dataset.

    Raises:
        UserError: if there is nothing to check, or a package is missing.
    """
    found: list[tuple[str, Agreement]] = []
    bad: list[str] = []
    for load in _records(path, source, most):
        try:
            record = load()
            validate_record(record)
            found.append((record.uid, agreement(record)))
        except DataError as error:
            bad.append(" ".join(str(error).split()))
    if not found and not bad:
        raise UserError(f"{path} holds no record")
    return Verdict(not bad and all(one.makes_sense for _, one in found), _text(found, bad))


def _text(found: list[tuple[str, Agreement]], bad: list[str]) -> str:
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


def _records(path: pathlib.Path, source: SourceName | None, most: int) -> Iterator[Callable[[], Record]]:
    if not checked_path(path).exists():
        raise UserError(f"there is no file or folder {path}")
    if source is None and (path / INDEX).is_file() and _is_store(path):
        yield from _stored(path, most)
        return
    source = source or recognise_source(path)
    if source is None:
        raise UserError(f"{path} is neither a record store nor a dataset in a known layout; name it with --source")
    items = open_source(source, path).items
    for _ in range(most):
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
