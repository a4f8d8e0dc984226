"""DiffSplat's parquet files: G-Objaverse's views as bytes, one row for each object.

    {root}/*.parquet   columns: uid, {00000}.png, {00000}.json, {00000}_albedo.png, {00000}_mr.png, {00000}_nd.png, …

`_nd.png` has 16 bits a channel: normal · 0.5 + 0.5 in RGB, planar depth / 5 in A. Views, cameras and axes are
G-Objaverse's. Some rows lack some of the 40 views (null): the others make the record. Rows of `write_diffsplat` have
their captions, credits and sides of the split too.

Source: the loader of DiffSplat (Lin et al. 2025).
"""

import functools
import importlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from diffgs_jax.data.records import Record
from diffgs_jax.data.split import Split
from diffgs_jax.datasets._files import image_size, parse_json, split_of_folder
from diffgs_jax.datasets._gbuffers import DUPLICATES, GBuffer, gbuffer_record
from diffgs_jax.datasets._images import decode_pixels
from diffgs_jax.datasets.diffsplat_rows import CREDITS, DEPTH_RANGE, FILES
from diffgs_jax.datasets.lazy_records import LazyRecord, LazyRecords, bad_record
from diffgs_jax.datasets.opencv import opencv
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import checked_path, one_line, open_regular, shown_size

SOURCE = "G-Objaverse, packed by DiffSplat (github.com/chenguolin/DiffSplat)"
_LEAST_UNPACKED = 2**28  # bytes that a column may unpack to, however small it is
_RATIO = 4  # bytes that each byte of a larger one may unpack to


def read_diffsplat(path: pathlib.Path, options: SourceOptions | None = None) -> LazyRecords:
    """Reads DiffSplat's parquet files, one row at a time.

    Args:
        path: a file, or a folder of them.
        options: of all sources.

    Raises:
        UserError: if there is no parquet file, or pyarrow is not installed.
    """
    files = [path] if checked_path(path).is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise UserError(f"{path} holds no parquet file")
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError("parquet files need pyarrow: pip install 'diffgs_jax[sources]'") from None
    return LazyRecords(item for file in files for item in _items(parquet, file, options or SourceOptions()))


def _items(parquet: Any, file: pathlib.Path, options: SourceOptions) -> Iterator[LazyRecord]:
    row, side = 0, _side(file.stem)
    try:
        with open_regular(file, unreadable=DataError):  # pyarrow would wait for a pipe
            table = parquet.ParquetFile(file)
        _refuse_bombs(table.metadata)
        for batch in table.iter_batches(batch_size=1):
            for values in batch.to_pylist():
                name = values.get("uid") or f"{file.stem}/{row}"
                uid = name.decode() if isinstance(name, bytes) else str(name)
                read = functools.partial(_read_row, uid, values, options)
                yield LazyRecord(uid, f"{file}, row {row}", read, side)
                row += 1
    except Exception as error:  # pyarrow's readers raise many kinds
        yield bad_record("?", f"{file}, row {row}", f"the file cannot be read: {one_line(error)}")


def _side(stem: str) -> Split | None:
    """Returns the side of the split that `write_diffsplat` put into a file's name; published names say nothing."""
    first, _, rest = stem.partition("-")
    return split_of_folder(rest.partition("-")[0]) if first == FILES else None


def _refuse_bombs(metadata: Any) -> None:
    """Refuses columns that unpack to far more than they take: pictures do not, and a row is unpacked as a whole."""
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.total_uncompressed_size > max(_LEAST_UNPACKED, _RATIO * chunk.total_compressed_size):
                sizes = f"{shown_size(chunk.total_compressed_size)} to {shown_size(chunk.total_uncompressed_size)}"
                raise DataError(f"a column unpacks from {sizes}, as no pictures do")


def _read_row(uid: str, values: dict[str, Any], options: SourceOptions) -> Record:
    numbers = sorted(int(name[:5]) for name in values if name[:5].isdigit() and name[5:] == ".json")
    there = [number for number in numbers if values[f"{number:05d}.json"] and values.get(f"{number:05d}.png")]
    views = [number for number in there if number not in DUPLICATES]
    if not views:
        raise DataError("the row has no view: no columns 00000.png and 00000.json, 00001.png and 00001.json, …")

    def column(name: str) -> bytes:
        if not values.get(name):
            raise DataError(f"the column {name} is missing or empty")
        return values[name]

    def view(number: int) -> GBuffer:
        stem = f"{number:05d}"
        camera = parse_json(column(f"{stem}.json"), f"{stem}.json")
        encoded = column(f"{stem}.png")
        pixels = decode_pixels(encoded, f"{stem}.png")
        if pixels.shape[0] != pixels.shape[1] or pixels.shape[2] != 4:
            raise DataError(f"{stem}.png has the shape {pixels.shape}; it must be square with alpha")
        values = _decode_sixteen_bits(column(f"{stem}_nd.png"), f"{stem}_nd.png")
        return GBuffer(encoded, pixels, camera, values[..., 3] * DEPTH_RANGE, values[..., :3] * 2 - 1)

    about: dict[str, Any] = {"source": SOURCE, "license": "as Objaverse (ODC-By-1.0)"}
    about |= {name: str(values[name]) for name in CREDITS if values.get(name)}
    return gbuffer_record(uid, views, view, options)._replace(**about)


def _decode_sixteen_bits(data: bytes, name: str) -> np.ndarray:
    """Returns RGBA in [0, 1], float32; Pillow would keep 8 of the 16 bits."""
    cv2 = opencv()
    image_size(data, name)  # refuses other formats and what is too large, before it is decoded
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 4:
        raise DataError(f"{name} is no readable 16-bit RGBA image")
    return pixels[..., [2, 1, 0, 3]].astype(np.float32) / np.float32(65535)
