"""Records as DiffSplat's parquet rows, which `read_diffsplat` reads back.

A row has the published columns (`{00000}.png`, `.json`, `_nd.png` with 16 bits a channel). Beside them, its cameras say
how the object was brought into its frame, so that nothing has to be estimated from depth, and it has columns for the
caption and the credits. What is read back differs by the rounding of depth (0.15 thousandths of the object's radius)
and of normals (1/255); what was read back once is read back the same.
"""

import importlib
import io
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack
import numpy as np
from PIL import Image

from diffgs_jax.data.maps import decode_depth, decode_normals
from diffgs_jax.data.records import Record
from diffgs_jax.datasets._gbuffers import DUPLICATES, FRAME_KEY
from diffgs_jax.datasets._images import decode_pixels
from diffgs_jax.datasets.opencv import opencv
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import new_folder

DEPTH_RANGE = 5.0
"""Depth that the largest code stands for, published units."""
FILES = "objects"
"""What names of files begin with, before the side of the split."""
CREDITS = ("caption", "name", "creator", "license", "source")
"""Columns beside the published ones."""
_SCALE = 2.0
"""Object-frame units in a published one: objects were scaled into a cube of side 1. A power of two rounds nothing."""
_LARGEST_CODE = 65535


def write_diffsplat(
    path: pathlib.Path,
    splits: Mapping[str, Sequence[tuple[str, Callable[[], bytes]]]],
    *,
    shard_size: int = 256,
) -> None:
    """Writes a folder of parquet files, `objects-{side of the split}-….parquet`, beside `path`, then renames it.

    Args:
        path: the folder to make; it must not exist.
        splits: by name ("train", "test"), for each record its uid and a function that returns its `encoded_row`.
        shard_size: rows in a file.

    Raises:
        UserError: if `path` exists or cannot be written, or pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    with new_folder(path) as unfinished:
        for split, records in splits.items():
            files = [records[start : start + shard_size] for start in range(0, len(records), shard_size)]
            for number, part in enumerate(files):
                rows = [msgpack.unpackb(encoded()) for _, encoded in part]
                names = dict.fromkeys(name for row in rows for name in row)
                schema = arrow.schema([(name, arrow.string() if name in CREDITS else arrow.binary()) for name in names])
                file = unfinished / f"{FILES}-{split}-{number:05d}-of-{len(files):05d}.parquet"
                # One row for each group, so that reading takes the memory of one object.
                parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), file, row_group_size=1)


def encoded_row(record: Record) -> bytes:
    """Returns the columns of one record, packed (msgpack); see `diffsplat_row`."""
    return msgpack.packb(diffsplat_row(record))


def diffsplat_row(record: Record) -> dict[str, Any]:
    """Returns the columns of one record.

    Its views get the published numbers in order, without those that are duplicates there: those of a ring of 24 that
    come first are where DiffSplat looks for even views.

    Raises:
        DataError: if it is no object with depth and normals, or a camera's pixels are not square and centred.
    """
    if record.domain != "object" or not {"depth", "normals"} <= set(record.maps):
        what = f"{record.domain} with {' and '.join(record.maps) or 'no maps'}"
        raise DataError(f"record {record.uid} ({what}) is none of the objects with depth and normals that rows hold")
    numbers = [number for number in range(len(record.images) + len(DUPLICATES)) if number not in DUPLICATES]
    row: dict[str, Any] = {"uid": record.uid.encode()}
    depths, normals = decode_depth(record.maps["depth"]), decode_normals(record.maps["normals"])
    for view, number in enumerate(numbers[: len(record.images)]):
        stem, place = f"{number:05d}", f"record {record.uid}, view {view}"
        pose, intrinsics = (np.asarray(array, np.float64)[view] for array in record.cameras)
        row[f"{stem}.png"] = _picture(record.images[view], place)
        row[f"{stem}.json"] = _camera(pose, intrinsics, place)
        row[f"{stem}_nd.png"] = _depth_and_normals(depths[view], normals[view], place)
    return row | {name: getattr(record, name) for name in CREDITS if getattr(record, name)}


def _picture(encoded: bytes, place: str) -> bytes:
    pixels = decode_pixels(encoded, place)
    if pixels.shape[2] == 4 and encoded.startswith(b"\x89PNG"):
        return encoded
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGBA").save(file, "PNG")
    return file.getvalue()


def _camera(pose: np.ndarray, intrinsics: np.ndarray, place: str) -> bytes:
    focal = intrinsics[0]
    if not np.allclose(intrinsics, [focal, focal, 0.5, 0.5], atol=1e-6):
        raise DataError(f"{place}: the intrinsics {intrinsics.tolist()} are not those of square, centred pixels")
    fov = 2 * np.arctan(0.5 / focal)
    columns = {key: pose[:3, column].tolist() for column, key in enumerate(("x", "y", "z"))}
    camera = {**columns, "origin": (pose[:3, 3] / _SCALE).tolist(), "x_fov": fov, "y_fov": fov}
    return json.dumps({**camera, FRAME_KEY: {"offset": [0.0, 0.0, 0.0], "scale": _SCALE}}).encode()


def _depth_and_normals(depth: np.ndarray, normals: np.ndarray, place: str) -> bytes:
    """Returns RGBA with 16 bits a channel: the published axes (−x, z, −y), and depth; 0 where there is none."""
    codes = np.zeros((*depth.shape, 4), np.float64)
    known = np.isfinite(normals[..., 0])
    x, y, z = np.moveaxis(normals, -1, 0)
    codes[..., :3] = np.where(known[..., None], np.stack([-x, z, -y], axis=-1) * 0.5 + 0.5, 0.0)
    codes[..., 3] = np.where(np.isfinite(depth), depth / _SCALE / DEPTH_RANGE, 0.0)
    if codes.max() > 1:
        raise DataError(
            f"{place}: depth reaches {np.nanmax(depth):.3g} radii of the object; {_SCALE * DEPTH_RANGE} fit"
        )
    rounded = np.rint(codes * _LARGEST_CODE).astype(np.uint16)
    done, encoded = opencv().imencode(".png", rounded[..., [2, 1, 0, 3]])
    if not done:
        raise DataError(f"{place}: depth and normals cannot be encoded")
    return encoded.tobytes()


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError("parquet files need pyarrow: pip install 'diffgs_jax[sources]'") from None
