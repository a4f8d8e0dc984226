"""Makes a dataset of 2,000 objects of the game 0 A.D.: animals, trees, buildings, ships, figures, helmets, shields.

    python scripts/prepare_0ad.py --out data/0ad_rings_128
    python scripts/prepare_0ad.py --out data/0ad_rings_128 --package 0ad-data_0.0.26-1_all.deb

The models come with the Debian package `0ad-data` 0.0.26-1 (1.4 GB), which is fetched by its address and checked
against its hash; downloading, unpacking and rendering go on where they stopped. They are by Wildfire Games and licensed
CC-BY-SA 3.0: who passes on the dataset, its pictures or its contact sheet must do so under the same licence, with the
credits of the dataset's CREDITS.md.

Figures are shown in their idle pose, with their equipment and mounts; buildings with what belongs to them. What is left
out (fragments, decals, ranks of the same figure, …) is counted in index.json; docs/datasets.md has the numbers. Of the
random looks that the game draws, an object's name decides one.
"""

import collections
import dataclasses
import functools
import json
import pathlib

import tyro

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data.store import read_index
from diffgs_jax.errors import report_errors
from diffgs_jax.files import cache_folder, write_text
from diffgs_jax.synthesis.meshes.dataset import WITH_RINGS, MeshSource, RenderSettings, Workforce, render_dataset
from diffgs_jax.synthesis.meshes.zeroad.archive import GameArchive, open_game_archive
from diffgs_jax.synthesis.meshes.zeroad.assembly import read_game_object
from diffgs_jax.synthesis.meshes.zeroad.catalogue import GameObject, find_game_objects
from diffgs_jax.synthesis.meshes.zeroad.package import LICENSE, SOURCE, find_game_archive

CREATOR = "Wildfire Games"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to make, and where."""

    out: pathlib.Path
    """Folder of the dataset to make."""
    package: pathlib.Path | None = None
    """The .deb file, if it is at hand; it is fetched otherwise."""
    work: pathlib.Path = dataclasses.field(default_factory=lambda: cache_folder() / "0ad")
    """Folder for the package and the game's archive (4.7 GB)."""
    workforce: tyro.conf.OmitArgPrefixes[Workforce] = dataclasses.field(default_factory=Workforce)
    """Who renders."""
    settings: tyro.conf.OmitArgPrefixes[RenderSettings] = WITH_RINGS
    """Of the views."""


def main(arguments: Arguments) -> None:
    """Fetches and unpacks the package, renders every object and writes the dataset with its credits."""
    file = find_game_archive(arguments.work.expanduser(), arguments.package)
    archive = open_game_archive(file)
    objects, left_out = find_game_objects(archive)
    for rule, count in left_out.items():
        print(f"left out: {count} {rule}")
    print(f"rendering {len(objects)} objects")
    skipped = render_dataset(
        [mesh_source(file, found) for found in objects],
        arguments.out,
        arguments.settings,
        description={"name": arguments.out.name, "source": SOURCE, "license": LICENSE, "left_out": left_out},
        workforce=arguments.workforce,
    )
    if arguments.workforce.shard is not None:
        print(f"shard {arguments.workforce.shard} is done, {len(skipped)} skipped; run without --shard to collect")
        return
    write_credits(archive, arguments.out)
    for reason, count in reasons(skipped).items():
        print(f"left out when read: {count} {reason}")
    counts = {split: len(part["uids"]) for split, part in read_index(arguments.out)["splits"].items()}
    print(f"{arguments.out}: {counts['train']} training and {counts['test']} test objects")


def mesh_source(file: pathlib.Path, found: GameObject) -> MeshSource:
    """Returns what the renderer needs to know of an object."""
    return MeshSource(
        uid=found.uid,
        path=file,
        caption=f"{found.name}, {found.category}" if found.category else found.name,
        name=found.name,
        creator=CREATOR,
        license=LICENSE,
        source=SOURCE,
        read=functools.partial(read_game_object, choice=found.choice),
    )


def reasons(skipped: dict[str, str]) -> dict[str, int]:
    """Returns how many objects could not be shown for each reason; reasons follow the actor's name."""
    return dict(collections.Counter(reason.partition(" ")[2] for reason in skipped.values()).most_common())


def write_credits(archive: GameArchive, out: pathlib.Path) -> None:
    """Writes CREDITS.md: the licence, and the artists that the game names; it does not say who made which model."""
    lines = [
        f"# Credits of {out.name}",
        "",
        f"The views show 3D models from the {SOURCE}, by Wildfire Games (<https://wildfiregames.com/>), rendered in",
        "other light, poses and combinations. They and these views are licensed CC-BY-SA 3.0:",
        "<https://creativecommons.org/licenses/by-sa/3.0/>. Who passes them on keeps the licence and these credits.",
        "",
    ]
    for part in json.loads(archive.read("gui/credits/texts/art.json")).get("Content", []):
        names = sorted(filter(None, (str(one.get("name") or one.get("nick") or "") for one in part.get("List", []))))
        lines += [f"{part.get('Title', 'Art')}: {', '.join(names)}.", ""]
    write_text(out / "CREDITS.md", "\n".join(lines))


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
