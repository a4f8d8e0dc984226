"""Which pictures are sampled, how often, and where to."""

import collections
import pathlib
from typing import NamedTuple

from diffgs_jax.errors import UserError
from diffgs_jax.interop import IMAGE_SUFFIXES


class Job(NamedTuple):
    """One sample of one picture.

    Attributes:
        image: a picture, or the JSON of several posed ones.
        seed: of the noise.
        out: the folder to fill.
    """

    image: pathlib.Path
    seed: int
    out: pathlib.Path


def find_jobs(image: pathlib.Path, out: pathlib.Path, *, seed: int = 0, samples: int = 1) -> list[Job]:
    """Returns what there is to do, in the order of the pictures' names.

    Args:
        image: a picture, or a folder of pictures; what in it has no suffix of a picture is left alone.
        out: folder for everything. Each picture of a folder gets a folder of its name in it, without the suffix unless
            two have the same name otherwise.
        seed: of the first sample.
        samples: of each picture; if several, each gets a folder `seed_…`.

    Raises:
        UserError: if there is no such picture, or the folder holds none or cannot be read.
    """
    places = [(image, out)]
    if not image.exists():
        raise UserError(f"cannot read {image}: there is no such file or folder")
    if image.is_dir():
        try:
            images = sorted(entry for entry in image.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
        except OSError as error:
            raise UserError(f"cannot read the folder {image}: {error.strerror or error}") from error
        if not images:
            raise UserError(f"{image} holds no pictures; name a picture, or a folder of some")
        stems = collections.Counter(picture.stem.lower() for picture in images)
        places = [(path, out / (path.stem if stems[path.stem.lower()] == 1 else path.name)) for path in images]
    numbers = range(seed, seed + samples)
    return [
        Job(picture, number, folder / f"seed_{number}" if samples > 1 else folder)
        for picture, folder in places
        for number in numbers
    ]
