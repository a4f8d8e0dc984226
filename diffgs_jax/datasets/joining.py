"""Captions and lists of names, joined to the records of a dataset by their uids.

G-Objaverse calls an object by its folders, `0/10010`, Objaverse and Cap3D by 32 hexadecimal digits, DiffSplat's rows by
a path; an index file (`gobjaverse_280k_index_to_objaverse.json`) says which is which. So a record is found under its
whole name, under the last part of it without a suffix, and under what the index says of either.
"""

import csv
import io
import pathlib
from collections.abc import Collection, Iterable, Iterator, Mapping

from diffgs_jax.data.records import Record
from diffgs_jax.datasets.lazy_records import LazyRecord
from diffgs_jax.errors import DataError
from diffgs_jax.files import json_object, load_json, read_regular

_LARGEST = 2**30  # bytes; Cap3D's captions of a million objects have 100 MB


def read_captions(file: pathlib.Path) -> dict[str, str]:
    """Reads captions: Cap3D's CSV (a uid and a caption in each line, with or without a header), or a JSON table.

    Raises:
        UserError: if there is no such file.
        DataError: if it is neither, or names nothing.
    """
    if file.suffix == ".json":
        table = json_object(load_json(file, limit=_LARGEST), str(file))
        captions = {str(uid): text for uid, text in table.items() if isinstance(text, str)}
    else:
        try:
            text = read_regular(file, limit=_LARGEST).decode("utf-8-sig")
            rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file} is no CSV of captions: {error}") from None
        # A caption with commas that was not quoted is several fields.
        captions = {row[0].strip(): ",".join(row[1:]).strip() for row in rows if len(row) > 1}
        if rows and rows[0][0].strip().lower() in ("uid", "id", "name"):
            del captions[rows[0][0].strip()]
    captions = {uid: text.strip() for uid, text in captions.items() if text.strip()}
    if not captions:
        raise DataError(f"{file} holds no captions: lines of a name, a comma and a caption")
    return captions


def read_index_names(file: pathlib.Path) -> dict[str, str]:
    """Reads a JSON table that gives names of one dataset to those of another, `{"0/10010": "000-000/4c1f….glb"}`.

    Raises:
        UserError: if there is no such file.
        DataError: if it is no table of names.
    """
    table = json_object(load_json(file, limit=_LARGEST), str(file))
    if not all(isinstance(name, str) for name in table.values()):
        raise DataError(f"{file} gives a name to something else than a name")
    return {str(key): str(name) for key, name in table.items()}


def names_of(uid: str, index: Mapping[str, str]) -> list[str]:
    """Returns the names a record may be listed under, the most certain first."""
    own = [uid, _last_part(uid)]
    known = [index[name] for name in own if name in index]
    return list(dict.fromkeys([*own, *known, *map(_last_part, known)]))


class JoinedRecords(Iterator[LazyRecord]):
    """Records of a dataset, those that are wanted, with captions.

    Attributes:
        captioned: how many had a caption so far.
        found: the wanted names that were found so far.
    """

    def __init__(
        self,
        items: Iterable[LazyRecord],
        *,
        captions: Mapping[str, str] | None = None,
        wanted: Collection[str] | None = None,
        index: Mapping[str, str] | None = None,
    ):
        """Reads nothing yet.

        Args:
            items: the dataset's records.
            captions: by name; a record without one keeps what it has.
            wanted: names; the others are left out, without being read. None wants all.
            index: other names of the records.
        """
        self.captioned, self.found = 0, set[str]()
        self._items, self._captions, self._index = iter(items), captions or {}, index or {}
        self._wanted = None if wanted is None else frozenset(wanted)

    def __next__(self) -> LazyRecord:
        """Returns the next record that is wanted."""
        for item in self._items:
            names = names_of(item.uid, self._index)
            if self._wanted is not None:
                listed = next((name for name in names if name in self._wanted), None)
                if listed is None:
                    continue
                self.found.add(listed)
            caption = next((self._captions[name] for name in names if name in self._captions), None)
            if caption is None:
                return item
            self.captioned += 1
            return item._replace(read=lambda item=item, caption=caption: _captioned(item, caption))
        raise StopIteration


def _captioned(item: LazyRecord, caption: str) -> Record:
    return item.read()._replace(caption=caption)


def _last_part(uid: str) -> str:
    return pathlib.PurePosixPath(uid).name.partition(".")[0]
