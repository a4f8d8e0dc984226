"""RealEstate10K: walks through houses, as pixelSplat's `.torch` chunks or as processed folders of frames.

    {root}/{train,test}/{000000}.torch                  lists of {key, images: JPEG bytes, cameras [n, 18]}
    {root}/{train,test}/index.json                      which chunk holds which scene (optional)
    {root}/{train,test}/metadata/{scene}.json           scene_name, frames of {image_path, fxfycxcy in pixels, w2c}
    {root}/{train,test}/images/{scene}/{00000}.png

A row of `cameras` is fx, fy, cx, cy (fractions of the picture), 0, 0, and the 3×4 world-to-camera matrix, OpenCV axes.
Frames keep their order and number, so that an evaluation index (`read_evaluation_index`) fits.

Sources: the loaders of pixelSplat (Charatan et al. 2024) and LVSM (Jin et al. 2025), which Open-DiffusionGS shares.
"""

import functools
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from diffgs_jax.data.records import Record
from diffgs_jax.data.split import Split
from diffgs_jax.datasets._files import image_size, read_bytes, read_json, split_of_folder
from diffgs_jax.datasets._images import decode_pixels
from diffgs_jax.datasets._lenses import Lens
from diffgs_jax.datasets._photographs import Photograph, scene_record
from diffgs_jax.datasets.lazy_records import LazyRecord, LazyRecords, bad_record
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path
from diffgs_jax.weights import load_torch

SOURCE = "RealEstate10K (Zhou et al. 2018)"


class EvaluationViews(NamedTuple):
    """The frames of a scene that a published evaluation uses.

    Attributes:
        context: frame numbers of the views that are given.
        target: frame numbers of the views to predict.
    """

    context: tuple[int, ...]
    target: tuple[int, ...]


def read_realestate10k(path: pathlib.Path, options: SourceOptions | None = None) -> LazyRecords:
    """Reads RealEstate10K, one scene at a time.

    Args:
        path: the root, its `train` or `test` folder, or one chunk.
        options: of all sources.

    Raises:
        UserError: if there is no chunk and no metadata below `path`.
    """
    options = options or SourceOptions()
    chunks = [path] if checked_path(path).is_file() else sorted(path.glob("*.torch")) + sorted(path.glob("t*/*.torch"))
    metadata = sorted(path.glob("metadata/*.json")) + sorted(path.glob("t*/metadata/*.json"))
    if not chunks and not metadata:
        raise UserError(f"{path} holds neither RealEstate10K chunks (*.torch) nor metadata/*.json")
    return LazyRecords(_items(chunks, metadata, options))


def read_evaluation_index(file: pathlib.Path) -> dict[str, EvaluationViews]:
    """Returns the frames to evaluate for each scene; scenes that the index leaves out (null) are not in it.

    Args:
        file: JSON, `{scene: {"context": [2 frames], "target": [3 frames]} | null}`.

    Raises:
        DataError: if it is no such index.
    """
    index = read_json(file)
    try:
        return {
            scene: EvaluationViews(tuple(map(int, views["context"])), tuple(map(int, views["target"])))
            for scene, views in index.items()
            if views is not None
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is no evaluation index: {error!r}") from None


def _items(chunks: list[pathlib.Path], metadata: list[pathlib.Path], options: SourceOptions) -> Iterator[LazyRecord]:
    for file in chunks:
        yield from _chunk_items(file, options)
    for file in metadata:
        yield LazyRecord(
            file.stem, str(file), functools.partial(_read_metadata, file, options), _split(file.parents[1])
        )


def _chunk_items(file: pathlib.Path, options: SourceOptions) -> Iterator[LazyRecord]:
    split = _split(file.parent)
    try:
        examples = load_torch(file)
        keys = [str(example["key"]) for example in examples]
    except (DataError, TypeError, KeyError) as error:
        # A lost chunk counts as all the scenes that were in it.
        for key in _scenes_of(file) or ["?"]:
            yield bad_record(key, str(file), f"the chunk cannot be read: {error}", split)
        return
    for key, example in zip(keys, examples, strict=True):
        yield LazyRecord(key, str(file), functools.partial(_read_example, key, example, options), split)


def _scenes_of(chunk: pathlib.Path) -> list[str]:
    try:
        index = read_json(chunk.parent / "index.json")
    except DataError:
        return []
    return sorted(key for key, file in index.items() if file == chunk.name) if isinstance(index, dict) else []


def _read_example(key: str, example: dict[str, Any], options: SourceOptions) -> Record:
    images, cameras = example["images"], np.asarray(example["cameras"], np.float64)
    if cameras.ndim != 2 or cameras.shape[1] != 18 or len(cameras) != len(images):
        raise DataError(
            f"{len(images)} pictures, but cameras of shape {cameras.shape} where ({len(images)}, 18) belongs"
        )
    photographs = []
    for view, (encoded, camera) in enumerate(zip(images, cameras, strict=True)):
        data = np.asarray(encoded, np.uint8).tobytes()
        width, height = image_size(data, f"view {view}", upright=False)
        fx, fy, cx, cy = camera[:4]
        if camera[4:6].any():
            raise DataError(f"view {view} has the lens terms {camera[4]} and {camera[5]}, where 0 belongs")
        photographs.append(
            Photograph(
                name=f"view {view}",
                read=functools.partial(decode_pixels, data, f"view {view}"),
                lens=Lens(width, height, fx * width, fy * height, cx * width, cy * height),
                camera_to_world=_inverse(np.concatenate([camera[6:].reshape(3, 4), [[0, 0, 0, 1]]]), f"view {view}"),
            )
        )
    return scene_record(key, photographs, options)._replace(source=SOURCE)


def _read_metadata(file: pathlib.Path, options: SourceOptions) -> Record:
    content = read_json(file)
    scene = str(content["scene_name"])
    if pathlib.PurePosixPath(scene).name != scene:
        raise DataError(f"the scene_name {scene[:80]!r} is no name of a folder")
    photographs = []
    for view, frame in enumerate(content["frames"]):
        # The path is that of the machine the data was processed on; the file's name is what counts.
        image = file.parents[1] / "images" / scene / pathlib.PurePosixPath(frame["image_path"]).name
        data = read_bytes(image)
        width, height = image_size(data, f"view {view}", upright=False)
        fx, fy, cx, cy = (float(value) for value in frame["fxfycxcy"])
        photographs.append(
            Photograph(
                name=f"view {view} ({image.name})",
                read=functools.partial(decode_pixels, data, f"view {view} ({image.name})"),
                lens=Lens(width, height, fx, fy, cx, cy),
                camera_to_world=_inverse(np.asarray(frame["w2c"], np.float64), f"view {view}"),
            )
        )
    return scene_record(scene, photographs, options)._replace(source=SOURCE)


def _inverse(world_to_camera: np.ndarray, name: str) -> np.ndarray:
    if world_to_camera.shape != (4, 4) or not np.isfinite(world_to_camera).all():
        raise DataError(f"{name} has a pose that is not finite")
    try:
        return np.linalg.inv(world_to_camera)
    except np.linalg.LinAlgError:
        raise DataError(f"{name} has a pose that cannot be inverted") from None


def _split(folder: pathlib.Path) -> Split | None:
    return split_of_folder(folder.name)
