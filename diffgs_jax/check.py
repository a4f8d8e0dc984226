"""Says in one line whether the poses of a dataset make sense: `python -m diffgs_jax.check PATH`.

PATH is a record store or any dataset that `scripts/convert_dataset.py` reads. Where there is depth, each view's is
unprojected into the others; else the silhouettes of objects are compared with their visual hull, and features of scenes
with their epipolar lines. Exit code 0: they make sense; 1: they do not, or a record is bad; 2: nothing to check.
"""

import dataclasses
import pathlib
from typing import Annotated

import tyro

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.datasets import SourceName
from diffgs_jax.errors import report_errors


@dataclasses.dataclass(frozen=True)
class Options:
    """What to check."""

    path: Annotated[pathlib.Path, tyro.conf.Positional]
    """A record store, or a dataset in its published layout."""
    source: SourceName | None = None
    """The layout; recognised by default."""
    records: int = 8
    """How many records are looked at: evenly spread in a store, the first of a published dataset."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line.

    Raises:
        SystemExit: with code 1 if the poses make no sense or a record is bad, 2 if there is nothing to check.
    """
    with report_errors():
        options = parse_options(Options, arguments, prog="python -m diffgs_jax.check", description=__doc__)
        with progress_bar("comparing views"):
            from diffgs_jax.datasets.check import check_poses  # seconds, which a misspelt option need not wait for

            verdict = check_poses(options.path, options.source, most=options.records)
        print(f"{options.path}: {verdict.text}")
        if not verdict.makes_sense:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
