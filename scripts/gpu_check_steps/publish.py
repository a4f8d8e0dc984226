"""Publishes the trained run as one file of at most 8 MB, and sees that it can be unpacked and read."""

import dataclasses
import pathlib

import pack_checkpoint
import publish_checkpoint

from diffgs_jax.checkpoints import read_metadata
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from gpu_check_steps.reporting import report


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What is published."""

    run: pathlib.Path
    """Folder of the trained run."""
    work: pathlib.Path
    """Folder for what is in between."""
    out: pathlib.Path
    """The file."""
    megabytes: float = 8.0
    """What it may have at most, millions of bytes."""


def main(arguments: Arguments) -> None:
    """Publishes, packs, unpacks."""
    published, unpacked = (arguments.work / f"{word}_{arguments.run.name}" for word in ("published", "unpacked"))
    publish_checkpoint.main(publish_checkpoint.PublishConfig(arguments.run, published, overwrite=True))
    bits = pack_checkpoint.pack(published, arguments.out, int(1e6 * arguments.megabytes))
    pack_checkpoint.unpack(arguments.out, unpacked)
    report(
        file=arguments.out.name, megabytes=round(arguments.out.stat().st_size / 1e6, 3), mantissa_bits=bits,
        counters=read_metadata(unpacked)["counters"],
    )  # fmt: skip


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
