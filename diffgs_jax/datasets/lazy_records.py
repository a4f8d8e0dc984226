"""Records that are read one at a time, each of which may turn out to be bad without harm to the others."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from diffgs_jax.data.records import Record
from diffgs_jax.data.split import Split
from diffgs_jax.errors import DataError, UserError


class LazyRecord(NamedTuple):
    """A record that has not been read yet.

    Attributes:
        uid: its name in its dataset.
        place: the file or folder it lies in, for messages.
        read: reads it.
        split: the side its dataset puts it on, or None where the dataset has no split.
    """

    uid: str
    place: str
    read: Callable[[], Record]
    split: Split | None = None

    def load(self) -> Record:
        """Reads the record.

        Raises:
            DataError: if anything is wrong with it, with its file and name.
            UserError: if a package is missing that its format needs.
        """
        try:
            return self.read()
        except UserError:
            raise
        except DataError as error:
            raise DataError(f"{self.place}, record {self.uid}: {error}") from None
        except Exception as error:  # damaged files make every decoder raise its own kinds
            raise DataError(f"{self.place}, record {self.uid}: {type(error).__name__}: {error}") from None


class LazyRecords(Iterator[Record]):
    """Reads one record after the other; after an error, the next call goes on with the next record.

    Attributes:
        items: the records that are still to be read.
    """

    def __init__(self, items: Iterable[LazyRecord]):
        """Reads nothing yet.

        Args:
            items: what there is to read; may itself be found lazily.
        """
        self.items = iter(items)

    def __next__(self) -> Record:
        """Returns the next record.

        Raises:
            DataError: if that one is bad.
        """
        return next(self.items).load()


def bad_record(uid: str, place: str, reason: str, split: Split | None = None) -> LazyRecord:
    """Returns a record of which it is known already that it cannot be read.

    Args:
        uid: its name.
        place: its file.
        reason: what is wrong.
        split: the side its dataset puts it on.
    """

    def read() -> Record:
        raise DataError(reason)

    return LazyRecord(uid, place, read, split)
