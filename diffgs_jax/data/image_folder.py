"""A folder of images as a source of records of one view each, for models of images.

    {folder}/{name}.png                 PNG, JPEG or WebP; the upper or lower case of the suffix does not matter
    {folder}/{class}/{name}.jpg         in folders below, whose names become captions: "coffee_cup" → "coffee cup"

Nothing is known of the cameras: every image is an object's view by a camera in the origin that looks along z, with axes
along those of the world (the identity) and a focal length of one image width. Images are turned upright as their EXIF
data say and cut to the square in their middle. An image is on the side of the split that a hash of its file decides, so
that copies under other names fall on the same side.
"""

import functools
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from diffgs_jax.data.records import Record
from diffgs_jax.data.split import Split, split_of
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import file_sha256, read_regular, text_sha256
from diffgs_jax.files.images import IMAGE_BYTES, image_orientation, image_size
from diffgs_jax.geometry import Cameras
from diffgs_jax.interop.image_files import read_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_FOCAL = 1.0


class ImageFolder:
    """The images of one split of a folder, sorted by name; `folder[i]` reads one as a record, from any thread.

    Attributes:
        path: the folder.
        split: "train" or "test".
        uids: the files' names below the folder.
        damaged: nothing: what is wrong with an image is found when it is read.
    """

    def __init__(self, path: str | os.PathLike[str], split: Split = "train"):
        """Reads every file once, to tell on which side it is.

        Raises:
            UserError: if there is no image, or none on this side of the split.
            DataError: if a file cannot be read.
        """
        self.path, self.split = pathlib.Path(path), split
        self.damaged: dict[int, str] = {}
        files = sorted(_find(self.path))
        if not files:
            raise UserError(f"{self.path} holds no PNG, JPEG or WebP images")
        self._files = [file for file in files if _side(file) == split]
        if not self._files:
            raise UserError(f"none of the {len(files)} images in {self.path} is on the {split} side of the split")
        self.uids = [file.relative_to(self.path).as_posix() for file in self._files]

    def __len__(self) -> int:
        """Returns how many images there are."""
        return len(self.uids)

    def __getitem__(self, index: int) -> Record:
        """Reads one image as a record of one view.

        Raises:
            DataError: if it cannot be read.
            IndexError: if there is no such image.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        file = self._files[index]
        below = file.relative_to(self.path).parent.name
        pose, intrinsics = np.eye(4, dtype=np.float32)[None], np.asarray([[_FOCAL, _FOCAL, 0.5, 0.5]], np.float32)
        return Record(
            self.uids[index],
            "object",
            [_square(file)],
            Cameras(pose, intrinsics),
            caption=below.replace("_", " ") or None,
            name=file.stem,
        )

    def place(self, index: int) -> str:
        """Returns an image's file, for messages."""
        return f"image {self._files[index]}"

    def records_of(self, shard: int) -> range:
        """Returns no records: there are no shards."""
        return range(0)

    def fingerprint(self) -> dict[str, Any]:
        """Returns what tells this split's contents from others without reading them: count, names and size."""
        size = sum(file.stat().st_size for file in self._files)
        names = text_sha256("\n".join(self.uids))[:16]
        return {"records": len(self), "record_names": names, "shard_bytes": size}


def holds_images(folder: pathlib.Path) -> bool:
    """Tells whether there is any image in a folder or the folders below it."""
    return next(_find(folder), None) is not None


def image_count(folder: pathlib.Path, split: Split) -> int:
    """Returns how many images a folder has on one side of the split.

    Raises:
        DataError: if a file cannot be read.
    """
    return sum(_side(file) == split for file in _find(folder))


def _find(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    return (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def _side(file: pathlib.Path) -> Split:
    try:
        status = file.stat()
        return _side_by_content(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"the image {file} cannot be read: {error.strerror or error}") from None
    except UserError as error:
        raise DataError(str(error)) from None


@functools.lru_cache(maxsize=2**20)
def _side_by_content(file: pathlib.Path, size: int, changed: int) -> Split:
    """Reads a file again only after its size or its time changed: one process may open both sides, several times."""
    return split_of(file_sha256(file)[:16])


def _square(file: pathlib.Path) -> bytes:
    """Returns the file if its image is upright and square, or else the square in its middle as a PNG file."""
    try:
        encoded = read_regular(file, limit=IMAGE_BYTES)
        width, height = image_size(encoded, str(file))
        if width == height and image_orientation(encoded, str(file)) == 1:
            return encoded
        pixels = read_image(file)
    except UserError as error:
        raise DataError(str(error)) from None
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = pixels[top : top + side, left : left + side]
    buffer = io.BytesIO()
    # It is decoded again at once, so little time goes into making it small.
    Image.fromarray(square if square[..., 3].min() < 255 else square[..., :3]).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
