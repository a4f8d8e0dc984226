"""Makes a store whose captions say what colour things are, with recoloured copies, of one whose captions do not.

    python scripts/color_captions.py --in data/furniture_rings_128 --out data/furniture_colors --copies 3

Colours are found by rule in the pictures (`diffgs_jax/data/coloring.py`). A copy is on the side of the split that its
record is on, which goes by geometry. A record that cannot be read is named and left out.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Annotated

import tyro

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import RecordStore, encode_record, open_store
from diffgs_jax.data.coloring import TARGETS, colored_copies
from diffgs_jax.data.store import read_index, write_store
from diffgs_jax.errors import DataError, UserError, report_errors

_ABOUT = ("name", "source", "license", "renderer", "split")


@dataclasses.dataclass(frozen=True)
class ColorCaptionsConfig:
    """Which store, and where to."""

    input: Annotated[pathlib.Path, tyro.conf.arg(name="in")]
    """A record store of objects."""
    out: pathlib.Path
    """Folder of the store to make."""
    copies: int = 3
    """Recoloured copies of each training record; what is held out stays as it is, with captions alone."""


def main(options: ColorCaptionsConfig) -> None:
    """Runs the command line."""
    if not 0 <= options.copies < len(TARGETS):
        raise UserError(f"--copies is a number from 0 to {len(TARGETS) - 1}, not {options.copies}")
    index, splits = read_index(options.input), {}
    for split in index["splits"]:
        store = open_store(options.input, split)
        splits[split] = colored_split(store, options.copies if split == "train" else 0)
    about = {name: index[name] for name in _ABOUT if name in index}
    write_store(options.out, splits, about | {"captions": "named colours", "copies": options.copies})
    counts = ", ".join(f"{len(records)} {split}" for split, records in splits.items())
    print(f"{options.out}: {counts}")


def colored_split(store: RecordStore, copies: int) -> list[tuple[str, Callable[[], bytes]]]:
    """Returns the names of the records to write, and what encodes each."""
    made: list[tuple[str, Callable[[], bytes]]] = []
    for number in range(len(store)):
        try:
            records = colored_copies(store[number], copies)
        except DataError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        made += [(record.uid, functools.partial(encode_record, record)) for record in records]
    return made


if __name__ == "__main__":
    with report_errors():
        main(parse_options(ColorCaptionsConfig, description=__doc__))
