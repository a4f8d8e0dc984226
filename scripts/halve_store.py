"""Parts the training records of a store into two stores, for models that must not have seen the same objects.

    python scripts/halve_store.py --data data/furniture_128 --out data/halves

Writes `first` and `second`. A record goes by the hash of its uid; both keep the whole test split.
"""

import dataclasses
import hashlib
import pathlib

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import encode_record, open_store
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import make_folder


@dataclasses.dataclass(frozen=True)
class Options:
    """What is parted, and where to."""

    data: pathlib.Path
    """Record store."""
    out: pathlib.Path
    """Folder of the two stores."""


def main(options: Options) -> None:
    """Writes both stores."""
    train = open_store(options.data, "train")
    tests = None
    try:
        tests = open_store(options.data, "test")
    except UserError:
        print("there is no test split")
    halves: dict[str, list[int]] = {"first": [], "second": []}
    for number, uid in enumerate(train.uids):
        is_second = hashlib.sha256(str(uid).encode()).digest()[0] % 2
        halves["second" if is_second else "first"].append(number)
    make_folder(options.out)
    for name, numbers in halves.items():
        splits = {"train": [(train.uids[n], lambda n=n: encode_record(train[n])) for n in numbers]}
        if tests is not None:
            splits["test"] = [(tests.uids[n], lambda n=n: encode_record(tests[n])) for n in range(len(tests))]
        write_store(options.out / name, splits, {"name": f"{options.data.name}, {name} half"})
        print(f"{options.out / name}: {len(numbers)} training records")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
