"""MVImgNet: phone videos around real objects, as pictures, COLMAP models and masks.

    {root}/{class}/{instance}/images/{name}.jpg
    {root}/{class}/{instance}/sparse/0/{cameras,images,points3D}.bin      one SIMPLE_RADIAL camera for the video
    masks, the first that is there:
        {root}/{class}/{instance}/masks/{name}.jpg.png (or {name}.png)    MVImgNet 2.0
        {root}/mask/{class}/{instance}/{name}.jpg.png                     MVImgNet, whose masks come apart
        {root}/../mask/{class}/{instance}/{name}.jpg.png

Only the model in sparse/0 counts. Pictures are undistorted, cut to the smallest common field of view that holds the
object, their background removed; the world is turned upright and brought into the object frame by the visual hull.

Source: the readmes of MVImgNet (Yu et al. 2023) and MVImgNet 2.0 (Han et al. 2024).
"""

import contextlib
import functools
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from diffgs_jax.data.records import Record
from diffgs_jax.datasets._colmap import PosedImage, read_colmap
from diffgs_jax.datasets._files import alone_in_name, image_file, read_bytes
from diffgs_jax.datasets._images import decode_mask
from diffgs_jax.datasets._photographs import Photograph, object_record, photograph_pixels
from diffgs_jax.datasets.lazy_records import LazyRecord, LazyRecords
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path

SOURCE = "MVImgNet (Yu et al. 2023)"


def read_mvimgnet(path: pathlib.Path, options: SourceOptions | None = None) -> LazyRecords:
    """Reads MVImgNet, one object at a time.

    Args:
        path: the root; a class's or an instance's folder will do too.
        options: of all sources.

    Raises:
        UserError: if there is no such folder. A folder without instances yields no records.
    """
    if not checked_path(path).is_dir():
        raise UserError(f"there is no folder {path}")
    return LazyRecords(_items(path, options or SourceOptions()))


def _items(root: pathlib.Path, options: SourceOptions) -> Iterator[LazyRecord]:
    for depth in ("", "*/", "*/*/"):
        for folder in sorted(root.glob(f"{depth}images")):
            instance = folder.parent.resolve()
            uid = f"{instance.parent.name}/{instance.name}"
            yield LazyRecord(uid, str(folder.parent), functools.partial(_read, uid, instance, options))


def _read(uid: str, instance: pathlib.Path, options: SourceOptions) -> Record:
    images = read_colmap(instance / "sparse" / "0")
    alone = alone_in_name([image.name for image in images])
    photographs = [
        Photograph(
            name=image.name,
            read=functools.partial(_read_pixels, instance, image, image.name in alone),
            lens=image.lens,
            camera_to_world=image.camera_to_world,
        )
        for image in images
    ]
    return object_record(uid, photographs, options)._replace(source=SOURCE, license="custom, non-commercial")


def _read_pixels(instance: pathlib.Path, image: PosedImage, alone: bool) -> np.ndarray:
    name = image.name
    encoded = read_bytes(image_file(instance / "images", name, alone=alone))
    pixels = photograph_pixels(encoded, name, image.lens)[..., :3]
    mask = decode_mask(read_bytes(_mask_file(instance, name, alone)), f"the mask of {name}")
    if not image.lens.fits(mask.shape[1], mask.shape[0]):
        raise DataError(f"the mask of {name} is {mask.shape[1]}×{mask.shape[0]}, which is not the picture's shape")
    if mask.shape != pixels.shape[:2]:
        size = (pixels.shape[1], pixels.shape[0])
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))
    return np.dstack([pixels, mask])


def _mask_file(instance: pathlib.Path, name: str, alone: bool) -> pathlib.Path:
    category = instance.parent
    folders = [instance / "masks", instance / "mask"]
    folders += [root / "mask" / category.name / instance.name for root in (category.parent, category.parent.parent)]
    for folder in folders:
        for file in (f"{name}.png", str(pathlib.PurePosixPath(name).with_suffix(".png")), name):
            with contextlib.suppress(DataError):
                return image_file(folder, file, alone=alone)
    raise DataError(f"{name} has no mask; looked for {folders[0] / name}.png and {folders[2] / name}.png")
