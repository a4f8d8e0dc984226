"""Makes a record store of a published dataset, or of one's own posed images.

    python scripts/convert_dataset.py --in data/gobjaverse --out data/gobjaverse_256 --size 256
    python scripts/convert_dataset.py --source realestate10k --in data/re10k --out data/re10k_256 --size 256
    python scripts/convert_dataset.py --source objaverse --uids uids.txt --out data/objaverse_256 --size 256
    python scripts/convert_dataset.py --in data/gobjaverse --captions Cap3D.csv --index index_to_objaverse.json …
    python scripts/convert_dataset.py --in data/furniture_rings_128 --layout diffsplat --out data/furniture_rows

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
from diffgs_jax.data.store import INDEX, read_index
from diffgs_jax.datasets import (
    JoinedRecords,
    SourceOptions,
    download_objaverse,
    find_objaverse,
    open_source,
    read_captions,
    read_index_names,
    recognise_source,
)
from diffgs_jax.datasets.conversion import ConversionSettings, convert
from diffgs_jax.datasets.objaverse import CACHE, SOURCE
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import file_sha256
from diffgs_jax.synthesis.meshes.dataset import RenderSettings, Workforce, render_dataset


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to convert, and where to."""

    out: pathlib.Path
    """Folder of the record store to make."""
    input: Annotated[pathlib.Path | None, tyro.conf.arg(name="in")] = None
    """Folder or file of the dataset; for objaverse, the package's cache by default."""
    source: Literal[
        "auto", "objaverse", "gobjaverse", "diffsplat", "realestate10k", "mvimgnet", "dl3dv", "transforms_json", "store"
    ] = "auto"
    """Its layout; `auto` looks at what is there."""
    uids: pathlib.Path | None = None
    """A file of the records to convert, one name a line or a JSON list; Objaverse's are downloaded where missing."""
    captions: pathlib.Path | None = None
    """A file of captions by name: Cap3D's CSV, or a JSON table. Records without one keep what they have."""
    index: pathlib.Path | None = None
    """A JSON table that gives G-Objaverse's names to Objaverse's, so that --captions and --uids may use the latter."""
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
    if not (arguments.out / INDEX).exists():
        print(f"{arguments.out}: {len(list(arguments.out.iterdir()))} parquet files, {len(skipped)} records left out")
        return
    counts = {split: len(part["uids"]) for split, part in read_index(arguments.out)["splits"].items()}
    print(f"{arguments.out}: {counts['train']} training and {counts['test']} test records, {len(skipped)} left out")


def convert_records(arguments: Arguments) -> dict[str, str]:
    """Converts posed images; returns what was left out."""
    path = arguments.input
    if path is None or not path.exists():
        raise UserError(
            f"there is no file or folder {path}; --in names the dataset's folder" if path else "--in is missing"
        )
    source = recognise_source(path) if arguments.source == "auto" else arguments.source
    if source is None or source == "objaverse":
        raise UserError(
            f"the layout of {path} is not recognised; name it with --source (docs/datasets.md shows them all)"
        )
    description = {"name": arguments.out.name, "layout": source, **dataclasses.asdict(arguments.options)}
    test_uids = None if arguments.test_list is None else set(read_names(arguments.test_list))
    lists = {"captions": arguments.captions, "uids": arguments.uids, "index": arguments.index}
    # Their contents too decide what the finished records of an interrupted conversion are.
    description |= {name: file_sha256(file) for name, file in lists.items() if file is not None}
    captions = None if arguments.captions is None else read_captions(arguments.captions)
    wanted = None if arguments.uids is None else read_names(arguments.uids)
    index = None if arguments.index is None else read_index_names(arguments.index)
    items = open_source(source, path, arguments.options).items
    joined = JoinedRecords(items, captions=captions, wanted=wanted, index=index)
    skipped = convert(joined, arguments.out, arguments.settings, description=description, test_uids=test_uids)
    if captions is not None:
        print(f"{joined.captioned} records have captions of {arguments.captions}")
    if wanted is not None:
        print(f"{len(joined.found)} of the {len(set(wanted))} names of {arguments.uids} were found")
    return skipped


def render_objaverse(arguments: Arguments) -> dict[str, str]:
    """Renders meshes of Objaverse; returns what was left out."""
    if arguments.settings.layout != "store":
        raise UserError("meshes are rendered into a store; convert that to DiffSplat's rows (--in STORE)")
    if arguments.uids is None:
        sources = find_objaverse(arguments.input or CACHE)
    elif arguments.input is not None:
        sources = find_objaverse(arguments.input, read_names(arguments.uids))
    else:
        sources = download_objaverse(read_names(arguments.uids))
    if arguments.captions is not None:
        captions = read_captions(arguments.captions)
        sources = [source._replace(caption=captions.get(source.uid, source.caption)) for source in sources]
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
