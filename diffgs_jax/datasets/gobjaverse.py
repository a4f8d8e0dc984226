"""G-Objaverse: 280,000 Objaverse objects rendered by Blender in 40 views with depth and normals.

    {root}/{dictionary}/{instance}/campos_512_v4/{00000}/{00000}{.json,.png,_albedo.png,_mr.png,_nd.exr}
    {root}/{dictionary}/{instance}/{00000}/…            the same without the folder of the camera set
    {root}/{uid}/campos_512_v4/…                        one folder for each object, under its Objaverse uid
    {root}/…/{instance}.tar                             of {instance}/campos_512_v4/…, as downloaded

Of the 40 views, 24 and 39 are duplicates and are left out: a record's views 0 to 23 ring the object (elevation 5° to
30°), 24 looks from above, 25 from below, 26 to 37 ring it level. `_nd.exr`: normals in RGB, planar depth in A. The
world is Blender's, right-handed with z up; it is not mirrored, as it is in some published loaders.

Sources: the dataset's readme (RichDreamer, Qiu et al. 2024) and the loader of Open-DiffusionGS.
"""

import functools
import importlib
import io
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from diffgs_jax.data.records import Record
from diffgs_jax.datasets._files import parse_json, read_bytes, walk_folders
from diffgs_jax.datasets._gbuffers import PUBLISHED_VIEWS, GBuffer, gbuffer_record
from diffgs_jax.datasets._images import decode_pixels
from diffgs_jax.datasets.lazy_records import LazyRecord, LazyRecords, bad_record
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path, one_line, open_regular, open_tar, read_tar_member, tar_members
from diffgs_jax.files.images import IMAGE_PIXELS

SOURCE = "G-Objaverse (github.com/modelscope/richdreamer)"
_CAMERA_SET = "campos_512_v4"
_LARGEST_MEMBER = 2**28  # bytes of one view's picture or map


def read_gobjaverse(path: pathlib.Path, options: SourceOptions | None = None) -> LazyRecords:
    """Reads G-Objaverse, one object at a time.

    Args:
        path: the root, any folder below it down to one instance, or a `.tar`.
        options: of all sources.

    Raises:
        UserError: if there is no such path. An empty folder yields no records.
    """
    if not checked_path(path).exists():
        raise UserError(f"there is no folder or tar {path}")
    return LazyRecords(_items(path, options or SourceOptions()))


def _items(root: pathlib.Path, options: SourceOptions) -> Iterator[LazyRecord]:
    if root.is_file():
        yield from _tar_items(root, root.parent, options)
        return
    for folder, folders, files in walk_folders(root):
        for camera_set in (folder / _CAMERA_SET, folder):
            # An instance is a folder whose views are numbered; its first view may be the one that is missing.
            if (camera_set / "00000").is_dir() or (camera_set / "00001").is_dir():
                relative = folder.relative_to(root).as_posix()
                uid = folder.name if relative == "." else relative
                read = functools.partial(_read_folder, uid, camera_set, options)
                yield LazyRecord(uid, str(camera_set), read)
                folders.clear()
                break
        for file in files:
            if file.endswith(".tar"):
                yield from _tar_items(folder / file, root, options)


def _tar_items(file: pathlib.Path, root: pathlib.Path, options: SourceOptions) -> Iterator[LazyRecord]:
    place = file.parent.relative_to(root)
    try:
        with open_regular(file, unreadable=DataError) as opened, open_tar(opened, file.name) as archive:
            names = [member.name for member in tar_members(archive, file.name)]
    except DataError as error:
        yield bad_record((place / file.stem).as_posix(), str(file), f"the archive cannot be read: {error}")
        return
    prefixes = sorted({_instance_of(name) for name in names if name.endswith(".json")} - {None}, key=str)
    if not prefixes:
        yield bad_record((place / file.stem).as_posix(), str(file), "the archive holds no views")
    for prefix in prefixes:
        assert prefix is not None
        instance = pathlib.PurePosixPath(prefix.removesuffix("/").removesuffix(f"/{_CAMERA_SET}"))
        uid = (
            pathlib.PurePosixPath(place.as_posix()) / (instance if str(instance) not in (".", "") else file.stem)
        ).as_posix()
        yield LazyRecord(uid, str(file), functools.partial(_read_tar, uid, file, prefix, options))


def _instance_of(name: str) -> str | None:
    """Returns what comes before `00007/00007.json`, or None for another file."""
    parts = name.split("/")
    if len(parts) < 2 or parts[-1] != f"{parts[-2]}.json" or not parts[-2].isdigit():
        return None
    return "".join(f"{part}/" for part in parts[:-2])


def _read_folder(uid: str, folder: pathlib.Path, options: SourceOptions) -> Record:
    return _read(uid, lambda name: read_bytes(folder / name), options)


def _read_tar(uid: str, file: pathlib.Path, prefix: str, options: SourceOptions) -> Record:
    with open_regular(file, unreadable=DataError) as opened, open_tar(opened, file.name) as archive:
        members = {member.name: member for member in tar_members(archive, file.name)}

        def read(name: str) -> bytes:
            if prefix + name not in members:
                raise DataError(f"{prefix}{name} cannot be read from the archive: it is not in it")
            return read_tar_member(archive, members[prefix + name], _LARGEST_MEMBER, file.name)

        return _read(uid, read, options)


def _read(uid: str, read: Callable[[str], bytes], options: SourceOptions) -> Record:
    def view(number: int) -> GBuffer:
        stem = f"{number:05d}/{number:05d}"
        camera = parse_json(read(f"{stem}.json"), f"{stem}.json")
        encoded = read(f"{stem}.png")
        pixels = decode_pixels(encoded, f"{stem}.png")
        if pixels.shape[0] != pixels.shape[1] or pixels.shape[2] != 4:
            raise DataError(f"{stem}.png has the shape {pixels.shape}; it must be square with alpha")
        values = _read_exr(read(f"{stem}_nd.exr"), f"{stem}_nd.exr")
        return GBuffer(encoded, pixels, camera, values[..., 3], values[..., :3])

    record = gbuffer_record(uid, PUBLISHED_VIEWS, view, options)
    return record._replace(source=SOURCE, license="as Objaverse (ODC-By-1.0)")


def _read_exr(data: bytes, name: str) -> np.ndarray:
    """Returns the channels R, G, B, A, `[h, w, 4]` float32."""
    try:
        openexr = importlib.import_module("OpenEXR")
    except ImportError:
        raise UserError("G-Objaverse's depth needs OpenEXR: pip install 'diffgs_jax[sources]'") from None
    try:
        low, high = openexr.File(io.BytesIO(data), header_only=True).header()["dataWindow"]
        if not 0 < int(high[0] - low[0] + 1) * int(high[1] - low[1] + 1) <= IMAGE_PIXELS:
            raise ValueError("it has too many pixels, or none")
        channels = openexr.File(io.BytesIO(data), separate_channels=True).channels()
        return np.stack([np.asarray(channels[channel].pixels, np.float32) for channel in "RGBA"], axis=-1)
    except Exception as error:  # OpenEXR raises bare exceptions
        raise DataError(f"{name} is an unreadable EXR file: {one_line(error)}") from None
