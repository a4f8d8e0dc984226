"""Which pictures are sampled, how often, and where to."""

import collections
import pathlib
import re
from typing import NamedTuple

from diffgs_jax.errors import UserError
from diffgs_jax.files import checked_path, one_line, read_regular, shown
from diffgs_jax.interop import IMAGE_SUFFIXES

_PROMPT_BYTES = 2**24


class Job(NamedTuple):
    """One sample of one picture.

    Attributes:
        image: a picture, the JSON of several posed ones, or a folder of one object's; None for models that are shown
            none.
        prompt: what to make, in words; None for none.
        seed: of the noise.
        out: the folder to fill.
    """

    image: pathlib.Path | None
    seed: int
    out: pathlib.Path
    prompt: str | None = None


def prompt_jobs(jobs: list[Job], prompts: pathlib.Path) -> list[Job]:
    """Returns the jobs done once for each prompt of a file, each in a folder of its own.

    Args:
        jobs: without a prompt.
        prompts: a text file with one prompt a line; blank lines are skipped.

    Raises:
        UserError: if it cannot be read or holds no prompt.
        DataError: if it is larger than 16 MiB.
    """
    lines = read_prompts(prompts)
    digits = len(str(len(lines) - 1))

    def folder(number: int, prompt: str) -> str:
        words = "_".join(re.findall(r"\w+", prompt))[:40]
        return f"{number:0{digits}}_{words}"

    return [
        job._replace(prompt=prompt, out=job.out / folder(number, prompt))
        for job in jobs
        for number, prompt in enumerate(lines)
    ]


def read_prompts(file: pathlib.Path) -> list[str]:
    """Returns the prompts of a text file, one a line; blank lines are skipped.

    Raises:
        UserError: if it cannot be read or holds no prompt.
        DataError: if it is larger than 16 MiB.
    """
    try:
        text = read_regular(file, limit=_PROMPT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {shown(file)}: {one_line(error)}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{file} holds no prompts; write one a line")
    return lines


def find_jobs(
    image: pathlib.Path | None, out: pathlib.Path, *, seed: int = 0, samples: int = 1, one_object: bool = False
) -> list[Job]:
    """Returns what there is to do, in the order of the pictures' names.

    Args:
        image: a picture, or a folder of pictures; what in it has no suffix of a picture is left alone. None for none.
        out: folder for everything. Each picture of a folder gets a folder of its name in it, without the suffix unless
            two have the same name otherwise.
        seed: of the first sample.
        samples: of each picture; if several, each gets a folder `seed_…`.
        one_object: the folder's pictures are of one object and go together.

    Raises:
        UserError: if there is no such picture, or the folder holds none or cannot be read.
    """
    places: list[tuple[pathlib.Path | None, pathlib.Path]] = [(image, out)]
    if image is not None and not checked_path(image).exists():
        raise UserError(f"cannot read {image}: there is no such file or folder")
    if image is not None and image.is_dir() and not one_object:
        images = images_in(image)
        stems = collections.Counter(picture.stem.lower() for picture in images)
        places = [(path, out / (path.stem if stems[path.stem.lower()] == 1 else path.name)) for path in images]
    numbers = range(seed, seed + samples)
    return [
        Job(picture, number, folder / f"seed_{number}" if samples > 1 else folder)
        for picture, folder in places
        for number in numbers
    ]


def images_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the pictures in a folder, in the order of their names.

    Raises:
        UserError: if it holds none or cannot be read.
    """
    try:
        images = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    if not images:
        raise UserError(f"{folder} holds no pictures; name a picture, or a folder of some")
    return images
