"""A list of meshes to a record store: posed views of each, rendered by several processes, restartable."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgpack
import numpy as np
from tqdm import tqdm

from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.mesh_light import GROUND, SKY, SUN, SUN_STRENGTH
from diffgs_jax.data.mesh_loading import load_mesh, triangles
from diffgs_jax.data.mesh_raycasting import RayCaster
from diffgs_jax.data.mesh_rendering import SUPERSAMPLING, MeshRenderer
from diffgs_jax.data.records import Record, encode_record
from diffgs_jax.data.split import TEST_PERCENT, geometry_hash, split_of
from diffgs_jax.data.store import write_store
from diffgs_jax.data.viewpoints import random_viewpoints
from diffgs_jax.errors import DataError, UserError


class MeshSource(NamedTuple):
    """A mesh file to render, and what is known of it.

    Attributes:
        uid: unique in its dataset.
        path: the file.
        rotation: `[3, 3]` that stands it upright, in the file's axes, or None.
        caption: a description in words.
        name: what it is called.
        creator: whom to credit.
        license: SPDX name.
        source: where it came from.
    """

    uid: str
    path: pathlib.Path
    rotation: np.ndarray | None = None
    caption: str | None = None
    name: str = ""
    creator: str = ""
    license: str = ""
    source: str = ""


@dataclasses.dataclass(frozen=True)
class RenderSettings:
    """How objects become records."""

    size: int = 128
    """Height and width of a view, pixels."""
    views: int = 32
    """Random viewpoints for each object."""
    seed: int = 0
    """Another seed gives other viewpoints."""
    elevation_range: tuple[float, float] = (-10.0, 60.0)
    """Lowest and highest viewpoint, degrees; uniform in the sine between."""
    distance_range: tuple[float, float] = (2.7, 2.7)
    """Nearest and farthest viewpoint; the object's bounding sphere has radius 1."""
    fov: float = 50.0
    """Field of view, degrees."""
    up: Literal["y", "z"] = "y"
    """The meshes' vertical axis; y for OBJ and glTF."""
    quality: int = 90
    """WebP quality of the colours."""
    alpha_quality: int = 100
    """WebP quality of the alpha channel; 100 keeps it exactly."""
    test_percent: float = TEST_PERCENT
    """How many of 100 shapes are held out for testing."""
    shard_size: int = 256
    """Records in a shard."""


def render_dataset(
    sources: Sequence[MeshSource],
    out: pathlib.Path,
    settings: RenderSettings,
    *,
    description: dict[str, Any],
    workers: int = 2,
) -> dict[str, str]:
    """Renders every mesh and writes the record store `out`.

    Finished objects are kept in a folder beside `out` until all are done; run again after an interruption with the
    same settings, it goes on from there. Meshes that cannot be rendered are left out and named in the index.

    Args:
        sources: what to render; the order does not matter.
        out: the folder to make.
        settings: of the views.
        description: what else the index tells: name, source, licence.
        workers: processes.

    Returns:
        The uids that were left out, with the reason.

    Raises:
        UserError: if `out` exists, two meshes share a uid, or there is no renderer.
        DataError: if no mesh could be rendered, or a process died.
    """
    if out.exists():
        raise UserError(f"{out} exists already; delete it or choose another --out")
    sources = sorted(sources, key=lambda source: source.uid)
    if len({source.uid for source in sources}) != len(sources):
        raise UserError("two of the meshes have the same uid")
    engine = open_renderer(settings.size)  # says at once if nothing can be rendered here
    described = {"renderer": _renderer_description(settings, engine), **description}
    fingerprint = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
    kept = out.with_name(f"{out.name}.partial-{fingerprint}")
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{kept} cannot be written: {error}") from None
    missing = [source for source in sources if not _kept_file(kept, source.uid).exists()]
    skipped = _render_missing(missing, kept, settings, workers, engine)
    engine.close()
    splits: dict[str, list[tuple[str, Callable[[], bytes]]]] = {"train": [], "test": []}
    for source in sources:
        if source.uid in skipped:
            continue
        shape = msgpack.unpackb(_kept_file(kept, source.uid).read_bytes())["geometry"]
        file = _kept_file(kept, source.uid)
        read = lambda file=file: msgpack.unpackb(file.read_bytes())["record"]  # noqa: E731
        splits[split_of(shape, settings.test_percent)].append((source.uid, read))
    if not any(splits.values()):
        raise DataError(f"none of the {len(sources)} meshes could be rendered")
    described["split"] = {"rule": "hash of the normalised geometry", "test_percent": settings.test_percent}
    write_store(out, splits, {**described, "skipped": skipped}, shard_size=settings.shard_size)
    shutil.rmtree(kept)
    return skipped


def render_object(
    source: MeshSource, settings: RenderSettings, renderer: MeshRenderer | RayCaster
) -> tuple[Record, str]:
    """Returns an object's record and the hash of its shape.

    Raises:
        DataError: if the mesh cannot be read or shows nothing.
    """
    parts = load_mesh(source.path, up=settings.up, rotation=source.rotation)
    cameras = random_viewpoints(
        source.uid,
        settings.views,
        seed=settings.seed,
        elevation_range=settings.elevation_range,
        distance_range=settings.distance_range,
        fov=settings.fov,
    )
    pictures = renderer.render(parts, cameras)
    if pictures[..., 3].max() == 0:
        raise DataError(f"{source.path} shows nothing from any viewpoint")
    images = [
        encode_webp(picture, quality=settings.quality, alpha_quality=settings.alpha_quality) for picture in pictures
    ]
    credits = {key: getattr(source, key) for key in ("caption", "name", "creator", "license", "source")}
    record = Record(uid=source.uid, domain="object", images=images, cameras=cameras, **credits)
    return record, geometry_hash(triangles(parts))


def open_renderer(size: int) -> MeshRenderer | RayCaster:
    """Returns OpenGL where it works, ray casting where only that does.

    Args:
        size: height and width of the pictures, pixels.

    Raises:
        UserError: if neither is installed.
    """
    try:
        return MeshRenderer(size)
    except UserError as no_opengl:
        try:
            return RayCaster(size)
        except UserError as no_rays:
            raise UserError(f"{no_opengl}; or, slower: {no_rays}") from None


def _render_missing(
    sources: Sequence[MeshSource],
    kept: pathlib.Path,
    settings: RenderSettings,
    workers: int,
    engine: MeshRenderer | RayCaster,
) -> dict[str, str]:
    skipped: dict[str, str] = {}
    with tqdm(total=len(sources), unit="object", desc="rendering") as progress, contextlib.ExitStack() as stack:

        def finish(uid: str, reason: str | None) -> None:
            if reason is not None:
                skipped[uid] = reason
                progress.write(f"skipped {uid}: {reason}")
            progress.update()

        if workers <= 1 or len(sources) <= 1:
            for source in sources:
                finish(source.uid, _render_and_keep(source, kept, settings, engine))
            return skipped
        # Spawned, because a forked copy of an OpenGL context or of a running JAX is not usable.
        context = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker, (settings.size, os.getpid()))
        stack.callback(pool.shutdown, cancel_futures=True)
        futures = {pool.submit(_render_in_worker, source, kept, settings): source for source in sources}
        try:
            for future in concurrent.futures.as_completed(futures):
                finish(futures[future].uid, future.result())
        except concurrent.futures.process.BrokenProcessPool:
            raise DataError("a rendering process died; run the command again to go on from here") from None
    return dict(sorted(skipped.items()))


_worker_renderer: MeshRenderer | RayCaster | None = None


def _start_worker(size: int, parent: int) -> None:
    global _worker_renderer  # one OpenGL context for each process, not for each object
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer: the processes share the cores already
    _worker_renderer = open_renderer(size)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Ends a worker whose parent was killed; nothing else would."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _render_in_worker(source: MeshSource, kept: pathlib.Path, settings: RenderSettings) -> str | None:
    assert _worker_renderer is not None
    return _render_and_keep(source, kept, settings, _worker_renderer)


def _render_and_keep(
    source: MeshSource, kept: pathlib.Path, settings: RenderSettings, renderer: MeshRenderer | RayCaster
) -> str | None:
    """Writes the object's file, or returns why there is none."""
    try:
        record, shape = render_object(source, settings, renderer)
    except (DataError, MemoryError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    file = _kept_file(kept, source.uid)
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(msgpack.packb({"geometry": shape, "record": encode_record(record)}))
    unfinished.rename(file)
    return None


def _kept_file(kept: pathlib.Path, uid: str) -> pathlib.Path:
    return kept / f"{hashlib.sha256(uid.encode()).hexdigest()[:24]}.msgpack"


def _renderer_description(settings: RenderSettings, engine: MeshRenderer | RayCaster) -> dict[str, Any]:
    return {
        "program": f"diffgs_jax, {'OpenGL' if isinstance(engine, MeshRenderer) else 'ray casting'}",
        **dataclasses.asdict(settings),
        "samples_per_pixel": SUPERSAMPLING**2,
        "light": {"sky": SKY, "ground": GROUND, "sun": SUN.round(6).tolist(), "sun_strength": SUN_STRENGTH},
    }
