"""The class of a record, by what it is called."""

import re
from collections.abc import Sequence

from diffgs_jax.data.records import Record


def find_label(record: Record, classes: Sequence[str]) -> int:
    """Returns the index of the first class whose name occurs in the record's caption, −1 if none does.

    Words count as a whole and in any case: "Oak table" is a "table", a "Tablecloth" is not. A record without a caption
    is looked for by its name.

    Args:
        record: of any dataset.
        classes: their names, those of special classes before those of general ones.
    """
    text = record.caption or record.name
    for index, name in enumerate(classes):
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
            return index
    return -1
