"""The images of a fit, from wherever they are, divided into those that are fitted and those that are scored."""

import itertools
import pathlib
from typing import NamedTuple

from diffgs_jax.commands.fit_options import FitOptions
from diffgs_jax.data.records import Record
from diffgs_jax.data.store import INDEX, RecordStore, read_index
from diffgs_jax.data.validation import validate_record
from diffgs_jax.datasets import SourceName, SourceOptions, open_source, recognise_source
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.evaluation import spread
from diffgs_jax.files import arrays_sha256
from diffgs_jax.optimization import PosedImages, choose, decode_images


class FitInputs(NamedTuple):
    """What a fit reads.

    Attributes:
        name: of the record.
        fitted: images that the fit sees.
        held_out: images that it is scored on; None if there are none.
        held_out_views: their numbers in the record.
        is_object: whether the background is not part of what is shown.
        sha256: of all the images and cameras.
    """

    name: str
    fitted: PosedImages
    held_out: PosedImages | None
    held_out_views: list[int]
    is_object: bool
    sha256: str


def read_inputs(options: FitOptions) -> FitInputs:
    """Reads the images.

    Raises:
        UserError: if there is nothing of a known layout, the record is not there or not named, or its images need
            more memory than stated.
        DataError: if an image or pose is missing or damaged, or fewer than two images are left to fit.
    """
    record = read_record(options.data, options.record, options.resolution or 0)
    count = len(record.images)
    if count < 2:
        raise DataError(
            f"{options.data}, record {record.uid}: one image does not say how deep things are: a fit "
            "needs two, and optimize distil takes one beside a trained model"
        )
    images = decode_images(record, options.resolution, options.memory)
    held_out = spread(count, min(options.held_out, count // 4))
    fitted = [view for view in range(count) if view not in held_out]
    return FitInputs(
        name=record.uid,
        fitted=choose(images, fitted),
        held_out=choose(images, held_out) if held_out else None,
        held_out_views=held_out,
        is_object=images.is_cut_out,
        sha256=arrays_sha256(images),
    )


def read_record(path: pathlib.Path, name: str | None, size: int = 0) -> Record:
    """Returns one record of a store, or one capture, checked.

    Args:
        path: the store, folder or file.
        name: of the record; None if there is but one.
        size: captures are shrunk to this when they are read, pixels; 0 keeps them.

    Raises:
        UserError: if there is nothing of a known layout, no record of that name, or several and no name.
        DataError: if the record is damaged, or its poses cannot be right.
    """
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    record = _stored(path, name) if _is_store(path) else _captured(path, name, size)
    validate_record(record)
    return record


def _is_store(path: pathlib.Path) -> bool:
    if not (path / INDEX).is_file():
        return False
    try:
        read_index(path)
    except DataError:
        return recognise_source(path) is None
    return True


def _stored(path: pathlib.Path, name: str | None) -> Record:
    splits = read_index(path).get("splits", {})
    stores = [RecordStore(path, split) for split in ("test", "train") if splits.get(split, {}).get("uids")]
    uids = [uid for store in stores for uid in store.uids]
    if name is None:
        _refuse_several(path, uids)
        name = uids[0] if uids else ""
    for store in stores:
        if name in store.uids:
            return store[store.uids.index(name)]
    raise UserError(f"{path} has no record {name!r}{_such_as(uids)}")


def _captured(path: pathlib.Path, name: str | None, size: int) -> Record:
    source = _layout(path)
    if source is None:
        raise UserError(
            f"{path} has images without poses or none at all: give a transforms.json, a COLMAP folder (images, "
            "sparse/0) or a record store"
        )
    items = open_source(source, path, SourceOptions(size=size)).items
    if name is None:
        found = list(itertools.islice(items, 2))
        _refuse_several(path, [item.uid for item in found])
    else:
        every = list(items)
        found = [item for item in every if item.uid == name]
        if not found:
            raise UserError(f"{path} has no capture {name!r}{_such_as([item.uid for item in every])}")
    if not found:
        raise UserError(f"{path} holds no capture")
    return found[0].load()


def _layout(path: pathlib.Path) -> SourceName | None:
    if (path / "sparse" / "0").is_dir():  # COLMAP's own: with masks an object, without a scene
        return "mvimgnet" if any((path / folder).is_dir() for folder in ("masks", "mask")) else "dl3dv"
    return recognise_source(path)


def _refuse_several(path: pathlib.Path, names: list[str]) -> None:
    if len(names) > 1:
        raise UserError(f"{path} holds several records; name one with --record{_such_as(names)}")


def _such_as(names: list[str]) -> str:
    return f" (there is {', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
