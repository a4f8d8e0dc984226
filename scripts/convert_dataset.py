"""Makes a record store of a published dataset, or of one's own posed images.

    python scripts/convert_dataset.py --in data/gobjaverse --out data/gobjaverse_256 --size 256
    python scripts/convert_dataset.py --source realestate10k --in data/re10k --out data/re10k_256 --size 256
    python scripts/convert_dataset.py --source objaverse --uids uids.txt --out data/objaverse_256 --size 256

Without --source, the layout is recognised. Every record is checked; a bad one is named, left out, and listed in the
store's index.json, and past --max-bad-records the conversion stops. Interrupted, the same command goes on where it
stopped. Objaverse's meshes are rendered (scripts/render_objects.py has more to choose); with --uids and no --in, those
that are not in the cache yet are downloaded. docs/datasets.md says where each dataset is found, how its folder looks,
and under which licence it comes.
"""

import dataclasses
import json
import pathlib
from typing import Annotated, Literal

import tyro

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data.store import read_index
from diffgs_jax.datasets import (
    SourceOptions,
    download_objaverse,
    find_objaverse,
    open_source,
    recognise_source,
)
from diffgs_jax.datasets.conversion import ConversionSettings, convert
from diffgs_jax.datasets.objaverse import CACHE, SOURCE
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.synthesis.meshes.dataset import RenderSettings, Workforce, render_dataset


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to convert, and where to."""

    out: pathlib.Path
    """Folder of the record store to make."""
    input: Annotated[pathlib.Path | None, tyro.conf.arg(name="in")] = None
    """Folder or file of the dataset; for objaverse, the package's cache by default."""
    source: Literal[
        "auto", "objaverse", "gobjaverse", "diffsplat", "realestate10k", "mvimgnet", "dl3dv", "transforms_json"
    ] = "auto"
    """Its layout; `auto` looks at what is there."""
    uids: pathlib.Path | None = None
    """For objaverse: a file of object names to render, one a line or a JSON list; downloaded where they are missing."""
    test_list: pathlib.Path | None = None
    """A file of the records to hold out, one name a line or a JSON list; all others are for training."""
    options: tyro.conf.OmitArgPrefixes[SourceOptions] = dataclasses.field(default_factory=SourceOptions)
    """Of the views."""
    settings: tyro.conf.OmitArgPrefixes[ConversionSettings] = dataclasses.field(default_factory=ConversionSettings)
    """Of the store."""


def main(arguments: Arguments) -> None:
    """Converts the dataset and says how many records there are."""
    if arguments.source == "objaverse":
        skipped = render_objaverse(arguments)
    else:
        skipped = convert_records(arguments)
    counts = {split: len(part["uids"]) for split, part in read_index(arguments.out)["splits"].items()}
    print(f"{arguments.out}: {counts['train']} training and {counts['test']} test records, {len(skipped)} left out")


def convert_records(arguments: Arguments) -> dict[str, str]:
    """Converts posed images; returns what was left out."""
    path = arguments.input
    if path is None or not path.exists():
        raise UserError(f"there is no {path}; --in names the dataset's folder" if path else "--in is missing")
    source = recognise_source(path) if arguments.source == "auto" else arguments.source
    if source is None or source == "objaverse":
        raise UserError(
            f"the layout of {path} is not recognised; name it with --source (docs/datasets.md shows them all)"
        )
    description = {"name": arguments.out.name, "layout": source, **dataclasses.asdict(arguments.options)}
    test_uids = None if arguments.test_list is None else set(read_names(arguments.test_list))
    records = open_source(source, path, arguments.options)
    return convert(records.items, arguments.out, arguments.settings, description=description, test_uids=test_uids)


def render_objaverse(arguments: Arguments) -> dict[str, str]:
    """Renders meshes of Objaverse; returns what was left out."""
    if arguments.uids is None:
        sources = find_objaverse(arguments.input or CACHE)
    elif arguments.input is not None:
        sources = find_objaverse(arguments.input, read_names(arguments.uids))
    else:
        sources = download_objaverse(read_names(arguments.uids))
    settings = RenderSettings(
        size=arguments.options.size or RenderSettings.size,
        maps=("depth", "normals") if arguments.options.maps else (),
        test_percent=arguments.settings.test_percent,
        shard_size=arguments.settings.shard_size,
    )
    licenses = " AND ".join(sorted({source.license for source in sources} - {""}))
    description = {"name": arguments.out.name, "source": SOURCE, "license": licenses}
    workforce = Workforce(workers=arguments.settings.threads)
    skipped = render_dataset(sources, arguments.out, settings, description=description, workforce=workforce)
    if len(skipped) > arguments.settings.max_bad_records:
        print(f"warning: {len(skipped)} meshes could not be rendered")
    return skipped


def read_names(file: pathlib.Path) -> list[str]:
    """Returns the names in a text file, one a line, or in a JSON list or table."""
    try:
        text = file.read_text()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    if file.suffix == ".json":
        try:
            return [str(name) for name in json.loads(text)]
        except (ValueError, TypeError) as error:
            raise DataError(f"{file} is no JSON list of names: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
