"""A mesh file to the record of one object: posed pictures of it, and maps of depth and normals."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgpack
import numpy as np

from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.maps import encode_depth, encode_normals
from diffgs_jax.data.records import EncodedMap, Record, encode_record
from diffgs_jax.data.split import TEST_PERCENT, geometry_hash
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras
from diffgs_jax.meshing import MeshFilePart, read_parts
from diffgs_jax.synthesis.meshes.engines import Engine, Renderer, open_engine
from diffgs_jax.synthesis.meshes.loading import load_mesh, triangles
from diffgs_jax.synthesis.meshes.viewpoints import own_elevation, random_viewpoints, ring_viewpoints

MapName = Literal["depth", "normals"]
_LEAST_COVERAGE = 5e-4
"""A view of which less is covered shows nothing that could be learnt from."""
_MOST_REDRAWS = 8


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
        read: reads the file; a function that can be pickled.
    """

    uid: str
    path: pathlib.Path
    rotation: np.ndarray | None = None
    caption: str | None = None
    name: str = ""
    creator: str = ""
    license: str = ""
    source: str = ""
    read: Callable[[pathlib.Path], list[MeshFilePart]] = read_parts


@dataclasses.dataclass(frozen=True)
class RenderSettings:
    """How objects become records."""

    engine: Engine = "fast"
    """`fast`: OpenGL, or ray casting where there is none. `blender`: Cycles, with shadows and reflected light."""
    maps: tuple[MapName, ...] = ()
    """What to store beside the pictures: `depth` (planar z, 16 bits), `normals` (world axes, 8 bits), or both."""
    size: int = 128
    """Height and width of a view, pixels."""
    views: int = 32
    """Random viewpoints for each object, or viewpoints on each of its rings."""
    rings: tuple[float, ...] = ()
    """Elevations, degrees, of rings of evenly spaced viewpoints, the first of each at azimuth 0: what published
    evaluations ask for. Random viewpoints by default."""
    ring_views: int = 0
    """Viewpoints of one ring at an elevation of the object's own, the first at azimuth 0; they come before the random
    ones. 24 of them and 16 random ones are what models of four even views learn from."""
    ring_elevations: tuple[float, float] = (0.0, 30.0)
    """Lowest and highest elevation of such a ring, degrees; uniform between."""
    seed: int = 0
    """Another seed gives other viewpoints."""
    elevation_range: tuple[float, float] = (-10.0, 60.0)
    """Lowest and highest viewpoint, degrees; uniform in the sine between."""
    distance_range: tuple[float, float] = (2.7, 2.7)
    """Nearest and farthest viewpoint; the object's bounding sphere has radius 1."""
    fov: float = 50.0
    """Field of view, degrees."""
    samples: int = 32
    """Paths for each pixel, of the engine `blender`."""
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


WITH_RINGS = RenderSettings(maps=("depth", "normals"), views=16, ring_views=24)
"""What models of four even views learn from and are scored on: the ring's are shown, the random ones asked for."""


def render_object(source: MeshSource, settings: RenderSettings, renderer: Renderer) -> tuple[Record, str]:
    """Returns an object's record and the hash of its shape.

    A viewpoint that hardly sees the object, such as a flat one's edge, is replaced by another one; if it belongs to the
    object's own ring, so is the whole ring.

    Raises:
        DataError: if the mesh cannot be read or shows nothing.
    """
    parts = load_mesh(source.path, up=settings.up, rotation=source.rotation, read=source.read)
    cameras = _viewpoints(source.uid, settings)
    pictures = renderer.render(parts, cameras)
    for redraw in range(1, _MOST_REDRAWS + 1):
        empty = pictures[..., 3].mean(axis=(1, 2)) < 255 * _LEAST_COVERAGE
        if not empty.any() or (settings.rings and not empty.all()):  # a ring is what was asked for, whatever it shows
            break
        empty[: settings.ring_views] |= empty[: settings.ring_views].any()
        others = _viewpoints(f"{source.uid}/redraw {redraw}", settings)
        cameras = Cameras(*(np.where(_like(empty, old), new, old) for old, new in zip(cameras, others, strict=True)))
        chosen = Cameras(cameras.camera_to_world[empty], cameras.intrinsics[empty])
        pictures = pictures.copy()
        pictures[empty] = renderer.render(parts, chosen)
    else:
        raise DataError(f"{source.path} shows nothing from most viewpoints")
    images = [encode_webp(image, quality=settings.quality, alpha_quality=settings.alpha_quality) for image in pictures]
    credits = {key: getattr(source, key) for key in ("caption", "name", "creator", "license", "source")}
    maps = _maps(parts, cameras, settings, renderer)
    record = Record(uid=source.uid, domain="object", images=images, cameras=cameras, maps=maps, **credits)
    return record, geometry_hash(triangles(parts))


def render_source(source: MeshSource, settings: RenderSettings, blender: str | None, threads: int) -> bytes:
    """Returns an object's record and the hash of its shape, packed (msgpack): what a worker does."""
    renderer = _renderer(os.getpid(), settings.engine, settings.size, settings.samples, blender, threads)
    try:
        record, shape = render_object(source, settings, renderer)
    except DataError:
        if settings.engine == "blender":  # it may have ended with the object; the next one gets another
            renderer.close()
            _renderer.cache_clear()
        raise
    return msgpack.packb({"geometry": shape, "record": encode_record(record)})


@functools.cache
def _renderer(process: int, engine: Engine, size: int, samples: int, blender: str | None, threads: int) -> Renderer:
    """Opens one renderer for each process, not for each object."""
    del process  # in the cache's key, because a renderer does not survive a fork
    return open_engine(engine, size, samples=samples, blender=blender, threads=threads)


def _viewpoints(name: str, settings: RenderSettings) -> Cameras:
    distances, fov, seed = settings.distance_range, settings.fov, settings.seed
    if settings.rings:
        return ring_viewpoints(settings.rings, settings.views, distance=distances[0], fov=fov)
    elevation = own_elevation(name, settings.ring_elevations, seed=seed)
    ring = ring_viewpoints([elevation], settings.ring_views, distance=distances[0], fov=fov)
    others = random_viewpoints(
        name,
        settings.views,
        seed=seed,
        elevation_range=settings.elevation_range,
        distance_range=distances,
        fov=fov,
    )
    return Cameras(*(np.concatenate(arrays) for arrays in zip(ring, others, strict=True)))


def _like(flags: np.ndarray, array: Any) -> np.ndarray:
    return flags.reshape(-1, *[1] * (np.ndim(array) - 1))


def _maps(parts: list, cameras: Cameras, settings: RenderSettings, renderer: Renderer) -> dict[str, EncodedMap]:
    if not settings.maps:
        return {}
    surfaces = renderer.render_surfaces(parts, cameras)
    encoders = {"depth": lambda: encode_depth(surfaces.depth), "normals": lambda: encode_normals(surfaces.normals)}
    return {name: encoders[name]() for name in settings.maps}
