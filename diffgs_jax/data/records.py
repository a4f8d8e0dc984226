"""What is stored of one object or scene, as bytes (msgpack)."""

import pathlib
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgpack
import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras

_VERSION = 1


class EncodedMap(NamedTuple):
    """A further image of every view: depth, normals.

    Attributes:
        views: one encoded image for each view.
        meaning: how to read its values, for example `{"kind": "planar z", "scale": 0.001, "invalid": 0}` or
            `{"kind": "normal", "axes": "world"}`.
    """

    views: list[bytes]
    meaning: dict[str, Any]


class Record(NamedTuple):
    """The posed views of one object or scene.

    Attributes:
        uid: unique in its dataset.
        domain: an object is in the object frame.
        images: n encoded square RGB or RGBA images.
        cameras: `[n]`, numpy float32.
        maps: by name.
        caption: a description in words, where there is one.
        name: what it is called.
        creator: whom to credit.
        license: SPDX name.
        source: where it came from.
        gaussians: `[n, 14]` float32, Gaussians that were fitted to it (`models.gaussian_sets`), in the axes of its
            cameras; None where there are none.
    """

    uid: str
    domain: Literal["object", "scene"]
    images: list[bytes]
    cameras: Cameras
    maps: dict[str, EncodedMap] = {}  # shared by all records, so nothing may write to it
    caption: str | None = None
    name: str = ""
    creator: str = ""
    license: str = ""
    source: str = ""
    gaussians: Float[np.ndarray, "n 14"] | None = None


@runtime_checkable
class RecordSource(Protocol):
    """Records of one side of the split in a fixed order, read one at a time from any thread.

    Attributes:
        path: the folder they are in.
        uids: their names, in order.
        damaged: what is wrong with each part of it that cannot be read, by the part's number.
    """

    path: pathlib.Path
    uids: list[str]
    damaged: dict[int, str]

    def __len__(self) -> int:
        """Returns how many records there are."""
        ...

    def __getitem__(self, index: int) -> Record:
        """Reads one record.

        Raises:
            DataError: if it cannot be read.
        """
        ...

    def place(self, index: int) -> str:
        """Returns a record's name and where it is kept, for messages."""
        ...

    def records_of(self, shard: int) -> range:
        """Returns the numbers of the records in a part."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Returns what tells these records from others: `records`, `record_names` and `shard_bytes`."""
        ...


def encode_record(record: Record) -> bytes:
    """Returns the record as bytes.

    Raises:
        DataError: if its images and cameras are not equally many.
    """
    _check_counts(record)
    fields = record._asdict()
    fields["cameras"] = [_array_bytes(np.asarray(array)) for array in record.cameras]
    fields["maps"] = {name: list(one) for name, one in record.maps.items()}
    gaussians = fields.pop("gaussians")
    if gaussians is not None:  # earlier programs read the records that have none
        fields["gaussians"] = _array_bytes(gaussians)
    return msgpack.packb({"version": _VERSION, **fields})


def decode_record(encoded: bytes) -> Record:
    """Returns the record that `encode_record` made into bytes.

    Raises:
        DataError: if the bytes are no record.
    """
    try:
        fields = msgpack.unpackb(encoded)
        version = fields.pop("version")
        poses, intrinsics = fields.pop("cameras")
        fields["cameras"] = Cameras(_array(poses, (-1, 4, 4)), _array(intrinsics, (-1, 4)))
        fields["maps"] = {name: EncodedMap(*one) for name, one in fields["maps"].items()}
        if "gaussians" in fields:
            fields["gaussians"] = _array(fields["gaussians"], (-1, 14))
        record = Record(**fields)
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise DataError(f"not a record of posed views ({type(error).__name__}: {error})") from None
    if version != _VERSION:
        raise DataError(f"a record of version {version}; this program reads version {_VERSION}")
    _check_counts(record)
    return record


def _check_counts(record: Record) -> None:
    views = len(record.images)
    if record.cameras.camera_to_world.shape != (views, 4, 4) or record.cameras.intrinsics.shape != (views, 4):
        raise DataError(f"record {record.uid} has {views} images but not as many cameras")
    for name, one in record.maps.items():
        if len(one.views) != views:
            raise DataError(f"record {record.uid} has {views} images but {len(one.views)} of its map {name}")


def _array_bytes(array: Float[np.ndarray, "..."]) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()


def _array(encoded: bytes, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    return np.frombuffer(encoded, "<f4").reshape(shape).copy()
