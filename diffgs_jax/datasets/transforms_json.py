"""Captures of one's own: `transforms.json` as instant-ngp, nerfstudio, Blender scripts and many tools write it.

    {capture}/transforms.json        or transforms_train.json, transforms_val.json, transforms_test.json side by side
    {capture}/images/…               wherever `file_path` says; a path without extension is completed

`transform_matrix` is camera-to-world with OpenGL axes (x right, y up, z back). Intrinsics (fl_x, fl_y, cx, cy, w, h,
k1…, p1, p2, or camera_angle_x in radians, x_fov in degrees) are those of the frame where it has any, of the file
otherwise. `mask_path` and `depth_file_path` (16 bits, millimetres unless `depth_unit_scale_factor` says otherwise) are
nerfstudio's. What would change where a pixel looks, or what it shows, and is not implemented, is refused by name.

`"object_frame": true`, which is ours alone, says that the poses are in the object frame already (its centre at the
origin, its bounding sphere of radius 1, z up), where they would otherwise be brought into it by the silhouettes.

A capture whose pictures have masks, or are partly transparent, is an object: its background is removed and it is
brought into the object frame. Any other is a scene. One record is one capture.

Sources: nerfstudio's "data conventions"; the loader of instant-ngp, whose `is_fisheye` says OPENCV_FISHEYE.
"""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from diffgs_jax.data.records import Record
from diffgs_jax.datasets._files import (
    alone_in_name,
    image_file,
    image_size,
    is_file,
    natural_order,
    read_bytes,
    read_json,
    walk_files,
)
from diffgs_jax.datasets._frame_lenses import frame_lens
from diffgs_jax.datasets._images import decode_mask
from diffgs_jax.datasets._lenses import Lens
from diffgs_jax.datasets._photographs import Photograph, object_record, photograph_pixels, scene_record
from diffgs_jax.datasets._poses import from_opengl
from diffgs_jax.datasets.lazy_records import LazyRecord, LazyRecords
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path
from diffgs_jax.files.images import open_image

CutOut = Callable[[UInt8[np.ndarray, "h w c"], str], UInt8[np.ndarray, "h w 4"]]
"""Makes RGBA of a picture of an object, RGB or RGBA, given its name for messages."""

SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".webp", ".JPG", ".PNG")


def read_transforms(
    path: pathlib.Path,
    options: SourceOptions | None = None,
    domain: Literal["object", "scene"] | None = None,
    cut_out: CutOut | None = None,
) -> LazyRecords:
    """Reads captures, one at a time.

    Args:
        path: a `transforms.json`, a capture's folder, or a folder of captures, however deep.
        options: of all sources.
        domain: what the captures show; None decides by their transparency.
        cut_out: what removes the background of objects' pictures; by default they must come without one.

    Raises:
        UserError: if there is no transforms file.
    """
    captures = find_captures(checked_path(path))
    if not captures:
        raise UserError(f"{path} holds no transforms.json")
    return LazyRecords(_items(captures, path, options or SourceOptions(), domain, cut_out))


def find_captures(path: pathlib.Path) -> dict[pathlib.Path, list[pathlib.Path]]:
    """Returns the folders of captures, sorted, with their transforms files."""
    if path.is_file():
        return {path.parent: [path]}
    captures: dict[pathlib.Path, list[pathlib.Path]] = {}
    for file in walk_files(path, "transforms*.json"):
        captures.setdefault(file.parent, []).append(file)
    for folder, files in captures.items():
        # The whole and its parts are not to be read twice.
        captures[folder] = [file for file in files if file.name == "transforms.json"] or files
    return captures


def _items(
    captures: dict[pathlib.Path, list[pathlib.Path]],
    root: pathlib.Path,
    options: SourceOptions,
    domain: Literal["object", "scene"] | None,
    cut_out: CutOut | None,
) -> Iterator[LazyRecord]:
    for folder, files in captures.items():
        relative = "." if root.is_file() else folder.relative_to(root).as_posix()
        uid = folder.resolve().name if relative == "." else relative
        yield LazyRecord(uid, str(files[0]), functools.partial(_read, uid, files, options, domain, cut_out))


def _read(
    uid: str,
    files: list[pathlib.Path],
    options: SourceOptions,
    domain: Literal["object", "scene"] | None,
    cut_out: CutOut | None,
) -> Record:
    photographs = [photograph for file in files for photograph in read_frames(file)]
    if not photographs:
        raise DataError("it has no frames")
    if domain is None:
        first = photographs[0].read()
        domain = "object" if first.shape[-1] == 4 and first[..., 3].min() < 128 else "scene"
    if domain == "scene":
        return scene_record(uid, photographs, options)
    if cut_out is not None:
        photographs = [_without_background(photograph, cut_out) for photograph in photographs]
    in_object_frame = all(read_json(file).get("object_frame") is True for file in files)
    return object_record(uid, photographs, options, in_object_frame=in_object_frame)


def _without_background(photograph: Photograph, cut_out: CutOut) -> Photograph:
    return photograph._replace(read=lambda: cut_out(photograph.read(), photograph.name))


def read_frames(file: pathlib.Path, images: str | None = None) -> list[Photograph]:
    """Returns the posed pictures of a transforms file, in the natural order of their paths.

    Args:
        file: the JSON.
        images: a folder that takes the place of the one the frames name, for smaller copies of the pictures.

    Raises:
        DataError: if the file is not readable, or a frame has no pose or intrinsics, or ones that are not implemented.
    """
    frames = _frames(file)
    alone = alone_in_name([frame["file_path"] for frame in frames])
    return [_photograph(file, frame, images, frame["file_path"] in alone) for frame in frames]


def frame_files(file: pathlib.Path) -> list[pathlib.Path]:
    """Returns the pictures and masks that a transforms file lists.

    Raises:
        DataError: if the file is not readable, or one is missing.
    """
    found = []
    for frame in _frames(file):
        found.append(_image_file(file.parent, frame["file_path"]))
        found += [file.parent / frame["mask_path"]] if frame.get("mask_path") else []
    return found


def _frames(file: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the frames, each with what the file says of all, in the natural order of their paths."""
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise DataError(f"{file} lists no frames")
    frames = []
    for number, frame in enumerate(content["frames"]):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise DataError(f"{file}: frame {number} has no file_path")
        frames.append({**content, **frame})
    return sorted(frames, key=lambda frame: natural_order(frame["file_path"]))


def _photograph(file: pathlib.Path, frame: dict[str, Any], images: str | None, alone: bool) -> Photograph:
    path = frame["file_path"]
    image = _image_file(file.parent, path) if images is None else _copy_file(file.parent / images, path, alone)
    try:
        mask = file.parent / frame["mask_path"] if frame.get("mask_path") else None
        read_depth = None
        if frame.get("depth_file_path"):
            unit = float(frame.get("depth_unit_scale_factor", 1e-3))
            read_depth = functools.partial(_read_depth, file.parent / frame["depth_file_path"], unit)
        matrix = np.asarray(frame["transform_matrix"], np.float64)
        pose = from_opengl(np.concatenate([matrix, [[0, 0, 0, 1]]]) if matrix.shape == (3, 4) else matrix.reshape(4, 4))
        lens = frame_lens(frame, functools.partial(_size, image))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} has no readable pose or intrinsics: {error!r}") from None
    return Photograph(path, functools.partial(_read_pixels, image, mask, lens), lens, pose, read_depth)


def _image_file(folder: pathlib.Path, path: str) -> pathlib.Path:
    for suffix in SUFFIXES:
        file = folder / f"{path}{suffix}"
        if is_file(file):
            return file
    raise DataError(f"the picture {folder / path} is missing")


def _copy_file(folder: pathlib.Path, path: str, alone: bool) -> pathlib.Path:
    """Returns the copy of a picture in another folder than the first one of its path."""
    parts = [part for part in pathlib.PurePosixPath(path).parts if part != "."]
    for suffix in SUFFIXES:
        with contextlib.suppress(DataError):
            return image_file(folder, f"{'/'.join(parts[1:] or parts)}{suffix}", alone=alone)
    raise DataError(f"the picture {path} is missing in {folder}")


def _size(image: pathlib.Path) -> tuple[int, int]:
    return image_size(read_bytes(image), image.name, upright=False)


def _read_pixels(image: pathlib.Path, mask: pathlib.Path | None, lens: Lens) -> np.ndarray:
    pixels = photograph_pixels(read_bytes(image), image.name, lens)
    if mask is None:
        return pixels
    values = decode_mask(read_bytes(mask), mask.name)
    if values.shape != pixels.shape[:2]:
        raise DataError(
            f"{mask} is {values.shape[1]}×{values.shape[0]}, its picture {pixels.shape[1]}×{pixels.shape[0]}"
        )
    return np.dstack([pixels[..., :3], values])


def _read_depth(file: pathlib.Path, unit: float) -> np.ndarray:
    codes = np.asarray(open_image(read_bytes(file), file.name, upright=False), np.float32)
    if codes.ndim != 2:
        raise DataError(f"{file} is no depth map: it has {codes.shape[-1]} channels")
    return np.where(codes > 0, codes * np.float32(unit), np.nan).astype(np.float32)
