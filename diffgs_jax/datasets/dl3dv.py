"""DL3DV-10K: videos of places, as frames with COLMAP poses.

    {root}/{1K…11K}/{hash}/transforms.json + images_8 or images_4 (480P, 960P: smaller copies only)
    {root}/{hash}/nerfstudio/transforms.json + images_4        the benchmark
    {root}/{hash}/colmap/transforms.json + images, images_2…   the samples
    {root}/{hash}/colmap/sparse/0/*.bin (or .txt)              without transforms.json, beside any images folder

transforms.json is nerfstudio's: OpenGL axes, intrinsics and OPENCV distortion of the full-size frames, whichever copies
are there. Frames are undistorted and cut to the middle square. Scenes below a folder whose name has "benchmark" or
"evaluation" in it are for testing, as published.

Source: the dataset cards and readme of DL3DV-10K (Ling et al. 2024). The chunks that DepthSplat made of it are read by
`read_realestate10k`, whose layout they have.
"""

import functools
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from diffgs_jax.data.records import Record
from diffgs_jax.data.split import Split
from diffgs_jax.datasets._colmap import PosedImage, read_colmap
from diffgs_jax.datasets._files import alone_in_name, image_file, image_size, read_bytes, walk_files
from diffgs_jax.datasets._photographs import Photograph, photograph_pixels, scene_record
from diffgs_jax.datasets.lazy_records import LazyRecord, LazyRecords
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.datasets.transforms_json import read_frames
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path

SOURCE = "DL3DV-10K (Ling et al. 2024)"
_HASH = re.compile(r"[0-9a-f]{64}")
_SMALLEST_FIRST = ("images_8", "images_4", "images_2", "images")
_PICTURES = {".png", ".jpg", ".jpeg"}


def read_dl3dv(path: pathlib.Path, options: SourceOptions | None = None) -> LazyRecords:
    """Reads DL3DV-10K, one scene at a time, from the smallest copies of its frames that are large enough.

    Args:
        path: the root, or any folder down to one scene.
        options: of all sources; with `size` 0 the largest copies are read.

    Raises:
        UserError: if no scene is found.
    """
    files = [path] if checked_path(path).is_file() else walk_files(path, "transforms.json")
    models = [] if path.is_file() else [file for form in ("bin", "txt") for file in walk_files(path, f"cameras.{form}")]
    models = [file for file in models if file.parent.name == "0" and file.parents[1].name == "sparse"]
    scenes: dict[str, pathlib.Path] = {}
    for file in [*files, *models]:
        scenes.setdefault(_scene_of(file), file)
    if not scenes:
        raise UserError(f"{path} holds no DL3DV scene: neither transforms.json nor sparse/0/cameras.bin or .txt")
    return LazyRecords(_items(scenes, options or SourceOptions()))


def _scene_of(file: pathlib.Path) -> str:
    """Returns the scene's hash, or, where no folder has one for its name, the folder of the file."""
    for part in reversed(file.resolve().parts[:-1]):
        if _HASH.fullmatch(part):
            return part
    return (file.parent if file.name == "transforms.json" else file.parents[2]).resolve().name


def _items(scenes: dict[str, pathlib.Path], options: SourceOptions) -> Iterator[LazyRecord]:
    for uid, file in scenes.items():
        published = [part.lower() for part in file.resolve().parts]
        split: Split | None = "test" if any("benchmark" in part or "evaluation" in part for part in published) else None
        yield LazyRecord(uid, str(file), functools.partial(_read, uid, file, options), split)


def _read(uid: str, file: pathlib.Path, options: SourceOptions) -> Record:
    if file.name == "transforms.json":
        images = _images_folder(file.parent, options)
        photographs = read_frames(file, images)
    else:
        capture = file.parents[2]
        folder, images = capture / _images_folder(capture, options), read_colmap(file.parent)
        alone = alone_in_name([image.name for image in images])
        photographs = [
            Photograph(
                name=image.name,
                read=functools.partial(_read_pixels, folder, image, image.name in alone),
                lens=image.lens,
                camera_to_world=image.camera_to_world,
            )
            for image in images
        ]
    return scene_record(uid, photographs, options)._replace(source=SOURCE, license="CC-BY-NC-4.0")


def _read_pixels(folder: pathlib.Path, image: PosedImage, alone: bool) -> np.ndarray:
    return photograph_pixels(read_bytes(image_file(folder, image.name, alone=alone)), image.name, image.lens)


def _images_folder(capture: pathlib.Path, options: SourceOptions) -> str:
    """Returns the folder of the smallest copies whose height is at least the wanted size."""
    found = [name for name in _SMALLEST_FIRST if (capture / name).is_dir()]
    if not found:
        raise DataError(f"{capture} has no folder of images ({', '.join(_SMALLEST_FIRST)})")
    if options.size:
        for name in found:
            files = (file for file in sorted((capture / name).rglob("*")) if file.suffix.lower() in _PICTURES)
            first = next(files, None)
            if first is not None and min(image_size(read_bytes(first), first.name)) >= options.size:
                return name
    return found[-1]
