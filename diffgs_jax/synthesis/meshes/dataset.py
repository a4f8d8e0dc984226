"""A list of meshes to a record store: posed views of each, rendered by several processes, restartable."""

import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from diffgs_jax.data.split import split_of
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import text_sha256, unfinished_folder
from diffgs_jax.synthesis.meshes import blender, light
from diffgs_jax.synthesis.meshes.engines import Renderer, engine_name, open_engine
from diffgs_jax.synthesis.meshes.objects import WITH_RINGS, MeshSource, RenderSettings, render_source
from diffgs_jax.synthesis.meshes.rendering import SUPERSAMPLING
from diffgs_jax.synthesis.meshes.sheet import write_store_sheet
from diffgs_jax.synthesis.meshes.workers import kept_file, work_through

__all__ = ["WITH_RINGS", "MeshSource", "RenderSettings", "Workforce", "parse_shard", "render_dataset"]


@dataclasses.dataclass(frozen=True)
class Workforce:
    """Who renders; nothing here changes what is rendered."""

    workers: int = 2
    """Rendering processes; one for each core is best."""
    shard: str | None = None
    """`i/n` renders only the i-th of n parts (from 0), for job arrays whose jobs see one disk. Nothing is collected
    then: run the command once more without it when all parts are done."""
    ray: bool = False
    """Render on a Ray cluster (`pip install diffgs_jax[ray]`), whose machines must see the output folder."""
    blender: str | None = None
    """A Blender, or a Python with bpy, for the engine `blender`."""
    time_limit: float = 600.0
    """Seconds after which a mesh is given up."""
    sheet: bool = True
    """Write `contact_sheet.png` into the dataset, for looking at."""


def render_dataset(
    sources: Sequence[MeshSource],
    out: pathlib.Path,
    settings: RenderSettings,
    *,
    description: dict[str, Any],
    workforce: Workforce | None = None,
) -> dict[str, str]:
    """Renders every mesh and writes the record store `out`.

    Finished objects are kept in a folder beside `out` until all are done; run again after an interruption with the
    same settings, it goes on from there. Meshes that cannot be rendered are left out and named in the index.

    Args:
        sources: what to render; the order does not matter.
        out: the folder to make.
        settings: of the views.
        description: what else the index tells: name, source, licence.
        workforce: who renders.

    Returns:
        The uids that were left out, with the reason.

    Raises:
        UserError: if `out` exists, two meshes share a uid, the settings contradict each other, or there is no renderer.
        DataError: if no mesh could be rendered.
    """
    workforce = workforce or Workforce()
    if out.exists():
        raise UserError(f"{out} exists already; delete it or choose another --out")
    sources = sorted(sources, key=lambda source: source.uid)
    if len({source.uid for source in sources}) != len(sources):
        raise UserError("two of the meshes have the same uid")
    if settings.rings and settings.ring_views:
        raise UserError("--rings are at given elevations, --ring-views at each object's own: give one of them")
    number, count = parse_shard(workforce.shard)
    # Opened here too, because it says at once if nothing can be rendered.
    engine = open_engine(settings.engine, settings.size, samples=settings.samples, blender=workforce.blender)
    described = {"renderer": _renderer_description(settings, engine), **description}
    engine.close()
    kept = unfinished_folder(out, described)
    # In an order that names do not decide, so that what is finished early is a fair sample of all.
    mixed = sorted(sources, key=lambda source: text_sha256(source.uid))
    threads = 1 if workforce.workers > 1 or workforce.ray else 0
    make = functools.partial(render_source, settings=settings, blender=workforce.blender, threads=threads)
    skipped = work_through(
        mixed[number::count],
        make,
        kept,
        workers=workforce.workers,
        time_limit=workforce.time_limit,
        ray=workforce.ray,
    )
    if workforce.shard is not None:
        return skipped
    splits: dict[str, list[tuple[str, Callable[[], bytes]]]] = {"train": [], "test": []}
    for source in sources:
        if source.uid in skipped:
            continue
        file = kept_file(kept, source.uid)
        shape = msgpack.unpackb(file.read_bytes())["geometry"]
        read = lambda file=file: msgpack.unpackb(file.read_bytes())["record"]  # noqa: E731
        splits[split_of(shape, settings.test_percent)].append((source.uid, read))
    if not any(splits.values()):
        raise DataError(f"none of the {len(sources)} meshes could be rendered")
    described["split"] = {"rule": "hash of the normalised geometry", "test_percent": settings.test_percent}
    write_store(out, splits, {**described, "skipped": skipped}, shard_size=settings.shard_size)
    shutil.rmtree(kept)
    if workforce.sheet:
        write_store_sheet(out, out / "contact_sheet.png")
    return skipped


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Returns (i, n) of a text `i/n`, and (0, 1) where there is none.

    Raises:
        UserError: if it is not of this form, or i is not below n.
    """
    if shard is None:
        return 0, 1
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise UserError(f"--shard {shard} is not i/n with i from 0 to n − 1")
    return int(number), int(count)


def _renderer_description(settings: RenderSettings, engine: Renderer) -> dict[str, Any]:
    look = blender if settings.engine == "blender" else light
    return {
        "program": f"diffgs_jax, {engine_name(engine)}",
        **dataclasses.asdict(settings),
        "samples_per_pixel": settings.samples if settings.engine == "blender" else SUPERSAMPLING**2,
        "light": {
            "sky": look.SKY,
            "ground": look.GROUND,
            "sun": light.SUN.round(6).tolist(),
            "sun_strength": look.SUN_STRENGTH,
        },
    }
