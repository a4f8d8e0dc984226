r"""Makes a dataset of 820 real objects (furniture, animals, food, vehicles, plants, people) from a Debian package.

    python scripts/prepare_sweethome3d.py --out data/furniture_rings_128
    python scripts/prepare_sweethome3d.py --out data/furniture_128 --ring-views 0 --views 32 --maps
    python scripts/prepare_sweethome3d.py --out data/furniture_cc0 --license cc0 --quality 80 \
        --ring-views 0 --views 32 --maps
    python scripts/prepare_sweethome3d.py --out data/furniture_128_other_views --split test --seed 1 …

The first gives each object a ring of 24 views at an elevation of its own and 16 random views, with depth and normals.
The second makes 32 random views, which the bundled one-picture model was trained on; the third the small set that is in
the repository already (assets/furniture_cc0). The fourth renders the test objects alone, from other viewpoints than a
dataset made with the default seed has: a model is scored on views that were not looked at while it was made. What is a
test object depends on its shape alone, so it is the same everywhere.

The package is `sweethome3d-furniture` 1.8-1 (120 MB). It is fetched with `apt-get download` where that is at hand;
otherwise download it with a browser and give it with `--package`. 175 of the objects are in the public domain (CC0);
the others are CC-BY, and their creators, listed in the dataset's CREDITS.md, must be credited wherever they are shown.
With rings it takes 20 minutes of processor time (1.4 s an object) and 290 MB, twice that while it is written.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import multiprocessing
import pathlib
from collections.abc import Callable, Iterable
from typing import Literal

import tyro
from tqdm import tqdm

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import open_store
from diffgs_jax.data.split import Split, geometry_hash, split_of
from diffgs_jax.data.store import read_index
from diffgs_jax.errors import DataError, report_errors
from diffgs_jax.files import cache_folder, write_text
from diffgs_jax.synthesis.meshes.dataset import WITH_RINGS, MeshSource, RenderSettings, Workforce, render_dataset
from diffgs_jax.synthesis.meshes.loading import load_mesh, triangles
from diffgs_jax.synthesis.meshes.sweethome3d import SOURCE, CatalogueEntry, find_package, unpack_package


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to make, and where."""

    out: pathlib.Path
    """Folder of the dataset to make."""
    license: Literal["all", "cc0"] = "all"
    """`cc0` keeps the 175 objects that are in the public domain."""
    package: pathlib.Path | None = None
    """The .deb file, if it is at hand; it is fetched with apt-get otherwise."""
    work: pathlib.Path = dataclasses.field(default_factory=lambda: cache_folder() / "sweethome3d")
    """Folder for the package and its models (450 MB)."""
    workforce: tyro.conf.OmitArgPrefixes[Workforce] = dataclasses.field(default_factory=Workforce)
    """Who renders."""
    settings: tyro.conf.OmitArgPrefixes[RenderSettings] = WITH_RINGS
    """Of the views."""
    split: Literal["all", "train", "test"] = "all"
    """Render this side of the split alone."""


def main(arguments: Arguments) -> None:
    """Fetches the package, unpacks it, renders every object and writes the dataset with its credits."""
    work = arguments.work.expanduser()
    package = find_package(work, arguments.package)
    entries = unpack_package(package, work, None if arguments.license == "all" else {"CC0-1.0"})
    licenses = sorted({entry.license for entry in entries})
    sources = [mesh_source(entry) for entry in entries]
    if arguments.split != "all":
        sources = on_side(sources, arguments.split, arguments.settings, arguments.workforce.workers)
    skipped = render_dataset(
        sources,
        arguments.out,
        arguments.settings,
        description={"name": arguments.out.name, "source": SOURCE, "license": " AND ".join(licenses)},
        workforce=arguments.workforce,
    )
    if arguments.workforce.shard is not None:
        print(f"shard {arguments.workforce.shard} is done, {len(skipped)} skipped; run without --shard to collect")
        return
    write_credits(arguments.out)
    counts = {split: len(part["uids"]) for split, part in read_index(arguments.out)["splits"].items()}
    print(f"{arguments.out}: {counts['train']} training and {counts['test']} test objects")


def on_side(sources: list[MeshSource], split: Split, settings: RenderSettings, workers: int) -> list[MeshSource]:
    """Returns the meshes whose shapes fall on one side of the split, and those that cannot be read, to be reported.

    Args:
        sources: all there are.
        split: which side.
        settings: say which way is up and how many are held out.
        workers: processes that read meshes.
    """
    side = functools.partial(_side, up=settings.up, test_percent=settings.test_percent)
    with tqdm(total=len(sources), desc="reading shapes", unit="object") as bar, contextlib.ExitStack() as stack:
        apply: Callable[..., Iterable[Split | None]] = map
        if workers > 1:
            spawned = multiprocessing.get_context("spawn")
            apply = stack.enter_context(concurrent.futures.ProcessPoolExecutor(workers, mp_context=spawned)).map
        chosen = []
        for source, found in zip(sources, apply(side, sources), strict=True):
            if found in (split, None):
                chosen.append(source)
            bar.update()
    return chosen


def _side(source: MeshSource, up: Literal["y", "z"], test_percent: float) -> Split | None:
    try:
        shape = geometry_hash(triangles(load_mesh(source.path, up=up, rotation=source.rotation)))
    except DataError:
        return None
    return split_of(shape, test_percent)


def mesh_source(entry: CatalogueEntry) -> MeshSource:
    """Returns what the renderer needs to know of a catalogue entry."""
    return MeshSource(
        uid=entry.uid,
        path=entry.path,
        rotation=entry.rotation,
        caption=caption(entry),
        name=entry.name,
        creator=entry.creator,
        license=entry.license,
        source=SOURCE,
    )


def caption(entry: CatalogueEntry) -> str:
    """Returns the name with the category, where that says something: "Oak table, living room"."""
    if entry.category in ("", "Miscellaneous"):
        return entry.name
    return f"{entry.name}, {entry.category.lower()}"


def write_credits(out: pathlib.Path) -> None:
    """Writes CREDITS.md: every object, its creator and its licence."""
    lines = [
        f"# Credits of {out.name}",
        "",
        f"The views show 3D models from the {SOURCE}, rendered with changed lighting.",
        "CC0-1.0 models are in the public domain; CC-BY models need their creators credited:",
        "<https://creativecommons.org/licenses/by/3.0/>.",
        "",
        "| object | name | creator | licence | split |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows = []
    for split, part in read_index(out)["splits"].items():
        if part["uids"]:
            for record in open_store(out, split):
                rows.append(f"| {record.uid} | {record.name} | {record.creator} | {record.license} | {split} |")
    write_text(out / "CREDITS.md", "\n".join(lines + sorted(rows)) + "\n")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
