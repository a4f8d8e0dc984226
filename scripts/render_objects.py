"""Makes a dataset of posed views from a folder of meshes (OBJ, GLB, glTF, PLY, STL, OFF).

    python scripts/render_objects.py --meshes my_models --out data/my_models
    python -m diffgs_jax.train --config configs/diffusion_gs/quickstart.py --data.path data/my_models

    # The published convention: Blender's Cycles, depth and normals. Blender lives in an environment of its own.
    python3.11 -m venv blender && blender/bin/pip install bpy==5.0.1
    python scripts/render_objects.py --engine blender --blender blender/bin/python --maps depth normals --size 512 …

    # On many machines that share a disk: parts of a job array, then one command that collects; or a Ray cluster.
    python scripts/render_objects.py … --shard $SLURM_ARRAY_TASK_ID/64
    python scripts/render_objects.py … --ray

An object is known by its file's path within the folder; it decides the viewpoints, so adding meshes changes no other
object's views. A mesh that cannot be rendered is skipped and named, with the reason, at the end and in the dataset's
index. Interrupted, the same command goes on where it stopped. `contact_sheet.png` in the dataset is for looking at.
"""

import dataclasses
import pathlib

import tyro

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data.store import read_index
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.synthesis.meshes.dataset import MeshSource, RenderSettings, Workforce, render_dataset

SUFFIXES = {".obj", ".glb", ".gltf", ".ply", ".stl", ".off"}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to render, and where to."""

    meshes: pathlib.Path
    """Folder of meshes; its sub-folders are searched too."""
    out: pathlib.Path
    """Folder of the dataset to make."""
    license: str = ""
    """Licence of the meshes (SPDX name), for the dataset's index."""
    creator: str = ""
    """Whom to credit for the meshes."""
    workforce: tyro.conf.OmitArgPrefixes[Workforce] = dataclasses.field(default_factory=Workforce)
    """Who renders."""
    settings: tyro.conf.OmitArgPrefixes[RenderSettings] = dataclasses.field(default_factory=RenderSettings)
    """Of the views."""


def main(arguments: Arguments) -> None:
    """Renders every mesh of the folder and writes the dataset."""
    sources = find_meshes(arguments.meshes, license=arguments.license, creator=arguments.creator)
    settings = arguments.settings
    print(
        f"rendering {len(sources)} meshes, {settings.views} views of {settings.size} × {settings.size} pixels each: "
        "a few seconds a mesh with OpenGL, more without it"
    )
    description = {"name": arguments.out.name, "source": arguments.meshes.name, "license": arguments.license}
    skipped = render_dataset(
        sources, arguments.out, arguments.settings, description=description, workforce=arguments.workforce
    )
    for uid, reason in skipped.items():
        print(f"  skipped {uid}: {reason}")
    if arguments.workforce.shard is not None:
        print(f"shard {arguments.workforce.shard} is done, {len(skipped)} skipped; run without --shard to collect")
        return
    counts = {split: len(part["uids"]) for split, part in read_index(arguments.out)["splits"].items()}
    print(f"{arguments.out}: {counts['train']} training and {counts['test']} test objects, {len(skipped)} skipped")
    if not counts["test"]:
        print("no object is held out, which takes about ten: train as it is, and evaluate with --split train")


def find_meshes(folder: pathlib.Path, *, license: str = "", creator: str = "") -> list[MeshSource]:
    """Returns the mesh files below `folder`.

    Raises:
        UserError: if there is no such folder, or no mesh in it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder of meshes {folder}")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{folder} holds no mesh; looked for {', '.join(sorted(SUFFIXES))}")
    return [
        MeshSource(
            uid=file.relative_to(folder).as_posix(),
            path=file,
            name=file.stem,
            creator=creator,
            license=license,
            source=folder.name,
        )
        for file in files
    ]


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
