r"""Makes a dataset of rooms furnished with real objects, and a camera walking through each: scenes, with depth.

    python scripts/make_rooms.py --out data/rooms_256
    python scripts/make_rooms.py --out data/rooms_cc0 --license cc0 --rooms 5 --test-rooms 0.4 \
        --size 128 --frames 24 --rays 16 --quality 75 --depth-step 0.01

The furniture is that of `scripts/prepare_sweethome3d.py` (Debian's sweethome3d-furniture), in its real sizes. Rooms
have windows with a view, doors, lamps, sun or none; daylight and two bounces of it are computed by casting rays. Rooms
for training hold only objects of the training side of the split, rooms for testing those of the other side. Every room
is decided by its name and the seed. Interrupted, the same command goes on where it stopped.

The second command makes the small set that is in the repository (assets/rooms_cc0). A room takes about ten seconds of
one CPU core at 128², so the 320 of the first command take about an hour on two. World units are metres, z is up.
"""

import dataclasses
import functools
import pathlib
import shutil
from typing import Literal, NamedTuple

import tyro

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import open_store
from diffgs_jax.data.split import TEST_PERCENT
from diffgs_jax.data.store import read_index, write_store
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import cache_folder, make_folder, unfinished_folder, write_text
from diffgs_jax.synthesis.meshes.dataset import Workforce, parse_shard
from diffgs_jax.synthesis.meshes.sheet import write_store_sheet
from diffgs_jax.synthesis.meshes.sweethome3d import CatalogueEntry, find_package, unpack_package
from diffgs_jax.synthesis.meshes.workers import kept_file, work_through
from diffgs_jax.synthesis.rooms.furniture import Furniture, measure, read_measured, role_of
from diffgs_jax.synthesis.rooms.records import RoomPlan, RoomSettings, describe_settings, render_room


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to make, and where."""

    out: pathlib.Path
    """Folder of the dataset to make."""
    rooms: int = 320
    """How many rooms, all together."""
    test_rooms: float = 0.1
    """Which part of them is furnished with test objects, for testing."""
    license: Literal["all", "cc0"] = "all"
    """`cc0` uses the furniture only that is in the public domain."""
    package: pathlib.Path | None = None
    """The .deb file, if it is at hand; it is fetched with apt-get otherwise."""
    work: pathlib.Path = dataclasses.field(default_factory=lambda: cache_folder() / "sweethome3d")
    """Folder for the package and its models (450 MB)."""
    workforce: tyro.conf.OmitArgPrefixes[Workforce] = dataclasses.field(default_factory=Workforce)
    """Who renders."""
    settings: tyro.conf.OmitArgPrefixes[RoomSettings] = dataclasses.field(default_factory=RoomSettings)
    """Of the rooms."""


class Measured(NamedTuple):
    """A catalogue entry under the name `work_through` keeps it by."""

    uid: str
    entry: CatalogueEntry


def main(arguments: Arguments) -> None:
    """Measures the furniture, makes every room and writes the dataset with its credits."""
    if arguments.out.exists():
        raise UserError(f"{arguments.out} exists already; delete it or choose another --out")
    if arguments.rooms < 1 or not 0.0 <= arguments.test_rooms <= 1.0:
        raise UserError("--rooms must be at least 1 and --test-rooms between 0 and 1")
    print(
        f"{arguments.rooms} rooms, about ten seconds of one core each at 128²; the furniture (120 MB, fetched with "
        "apt-get, 450 MB unpacked) is measured first, once"
    )
    work = arguments.work.expanduser()
    package = find_package(work, arguments.package)
    entries = unpack_package(package, work, None if arguments.license == "all" else {"CC0-1.0"})
    entries = [entry for entry in entries if role_of(entry) is not None]
    furniture = measure_furniture(entries, work / "measured", arguments.workforce)
    make_rooms(arguments, furniture)


def measure_furniture(entries: list[CatalogueEntry], folder: pathlib.Path, workforce: Workforce) -> list[Furniture]:
    """Returns what can furnish rooms; measured once, and kept in the folder."""
    make_folder(folder)
    items = [Measured(f"{entry.uid} {TEST_PERCENT}", entry) for entry in entries]
    skipped = work_through(
        items, measure_item, folder, workers=workforce.workers, time_limit=workforce.time_limit, ray=workforce.ray
    )
    return [read_measured(kept_file(folder, item.uid)) for item in items if item.uid not in skipped]


def measure_item(item: Measured) -> bytes:
    """Measures one object."""
    return measure(item.entry, TEST_PERCENT)


def make_rooms(arguments: Arguments, furniture: list[Furniture]) -> None:
    """Makes every room and writes the dataset."""
    out, settings = arguments.out, arguments.settings
    tests = round(arguments.rooms * arguments.test_rooms)
    plans = [RoomPlan(f"room/test/{number:04d}", "test") for number in range(tests)]
    plans += [RoomPlan(f"room/train/{number:04d}", "train") for number in range(arguments.rooms - tests)]
    licenses = sorted({piece.license for piece in furniture})
    described = {
        "renderer": describe_settings(settings),
        "name": out.name,
        "source": "rooms of diffgs_jax, furnished from the Debian package sweethome3d-furniture 1.8-1",
        "license": " AND ".join(licenses),
    }
    kept = unfinished_folder(out, [described, sorted(piece.uid for piece in furniture)])
    number, count = parse_shard(arguments.workforce.shard)
    skipped = work_through(
        plans[number::count],
        functools.partial(render_room, furniture=furniture, settings=settings),
        kept,
        workers=arguments.workforce.workers,
        time_limit=max(arguments.workforce.time_limit, 1800.0),
        ray=arguments.workforce.ray,
        unit="room",
    )
    if arguments.workforce.shard is not None:
        print(f"shard {arguments.workforce.shard} is done, {len(skipped)} skipped; run without --shard to collect")
        return
    made = [plan for plan in plans if plan.uid not in skipped]
    if not made:
        raise DataError(f"none of the {len(plans)} rooms could be made: {next(iter(skipped.values()))}")
    splits = {
        side: [(plan.uid, kept_file(kept, plan.uid).read_bytes) for plan in made if plan.split == side]
        for side in ("train", "test")
    }
    rule = "rooms are furnished with objects of one side of the objects' split (hash of the normalised geometry)"
    described["split"] = {"rule": rule, "test_percent": TEST_PERCENT}
    write_store(out, splits, {**described, "skipped": skipped}, shard_size=64)
    shutil.rmtree(kept)
    write_credits(out, furniture)
    if arguments.workforce.sheet:
        write_store_sheet(out, out / "contact_sheet.png", rows=16)
    counts = {split: len(part["uids"]) for split, part in read_index(out)["splits"].items()}
    print(f"{out}: {counts['train']} training and {counts['test']} test rooms, {len(skipped)} skipped")


def write_credits(out: pathlib.Path, furniture: list[Furniture]) -> None:
    """Writes CREDITS.md: every object that stands in a room, its creator and its licence."""
    used: set[str] = set()
    for split, part in read_index(out)["splits"].items():
        if part["uids"]:
            for record in open_store(out, "train" if split == "train" else "test"):
                used.update(record.source.split(", "))
    lines = [
        f"# Credits of {out.name}",
        "",
        "The rooms are furnished with 3D models from the Debian package sweethome3d-furniture 1.8-1",
        "(www.sweethome3d.com); walls, floors, windows, pictures and plain boards are drawn by the program.",
        "CC0-1.0 models are in the public domain; CC-BY models need their creators credited:",
        "<https://creativecommons.org/licenses/by/3.0/>.",
        "",
        "| object | name | creator | licence | rooms for |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows = [
        f"| {one.uid} | {one.name} | {one.creator} | {one.license} | {one.split} |"
        for one in furniture
        if one.uid in used
    ]
    write_text(out / "CREDITS.md", "\n".join(lines + sorted(rows)) + "\n")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
