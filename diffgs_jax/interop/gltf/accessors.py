"""Arrays of a glTF file: accessors, strided, normalised, sparse.

Source: glTF 2.0 specification, section 3.6.2.
"""

from typing import Any

import numpy as np

from diffgs_jax.interop.gltf.document import Document, extension, integer, item, unimplemented

MOST_ELEMENTS = 6_000_000
"""Elements of one array; three for each of the most triangles that are read."""

_KINDS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_accessor(
    document: Document, number: Any, types: tuple[str, ...], kinds: str = "fiu", *, normalize: bool | None = None
) -> np.ndarray:
    """Returns an accessor's values as `[count, width]`: float64, or int64 where `kinds` has no "f".

    Args:
        document: the file.
        number: the accessor's index.
        types: allowed, of SCALAR, VEC2, VEC3, VEC4, MAT4.
        kinds: allowed: "f" floating point, "i" signed, "u" unsigned integers.
        normalize: whether integers stand for fractions; what the accessor says by default.

    Raises:
        DataError: if its data are compressed by an extension.
        ValueError: if it is of another type, or its data are not there.
    """
    accessor = item(document.content, "accessors", number)
    name = f"accessors[{number}]"
    kind, shape = _KINDS.get(accessor.get("componentType")), accessor.get("type")
    if kind is None or shape not in types or np.dtype(kind).kind not in kinds:
        raise ValueError(f"{name} is {str(shape)[:20]} of {str(accessor.get('componentType'))[:20]}, not {types}")
    width, count = _WIDTHS[shape], integer(accessor["count"])
    if not 0 < count <= MOST_ELEMENTS:
        raise ValueError(f"{name} has {count} elements; 1 to {MOST_ELEMENTS} are read")
    if "bufferView" in accessor:
        view = accessor["bufferView"]
        values = np.array(_elements(document, view, accessor.get("byteOffset"), kind, count, width, name))
    else:
        values = np.zeros((count, width), kind)
    if "sparse" in accessor:
        _replace_some(document, accessor["sparse"], values, kind, name)
    if "f" not in kinds:
        return values.astype(np.int64)
    divided = accessor.get("normalized") is True if normalize is None else normalize
    if values.dtype.kind == "f" or not divided:
        return values.astype(np.float64)
    return np.maximum(values.astype(np.float64) / np.iinfo(values.dtype).max, -1.0)


def has_data(document: Document, number: Any) -> bool:
    """Returns whether an accessor has values of its own, or waits for an extension to fill it."""
    accessor = item(document.content, "accessors", number)
    return "bufferView" in accessor or "sparse" in accessor


def view_bytes(document: Document, number: Any) -> memoryview:
    """Returns the bytes of a buffer view.

    Raises:
        DataError: if they are compressed by an extension.
        ValueError: if they are not in the buffer.
    """
    view = item(document.content, "bufferViews", number)
    buffer = integer(view["buffer"])
    if buffer >= len(document.buffers):
        raise ValueError(f"there is no buffers[{buffer}]")
    data, start, length = document.buffers[buffer], integer(view.get("byteOffset"), 0), integer(view["byteLength"])
    if data is None:
        for name in ("EXT_meshopt_compression", "KHR_meshopt_compression"):
            if extension(view, name) is not None:
                raise unimplemented(document, name)
        raise ValueError(f"buffers[{buffer}] has no data")
    if start + length > len(data):
        raise ValueError(f"bufferViews[{number}] ends after its buffer")
    return data[start : start + length]


def _elements(document: Document, view: Any, offset: Any, kind: str, count: int, width: int, name: str) -> np.ndarray:
    data, size = view_bytes(document, view), np.dtype(kind).itemsize
    start, packed = integer(offset, 0), size * width
    stride = integer(item(document.content, "bufferViews", view).get("byteStride"), packed)
    if stride < packed or start + stride * (count - 1) + packed > len(data):
        raise ValueError(f"{name} ends after its bufferView")
    return np.ndarray((count, width), kind, data, start, (stride, size))


def _replace_some(document: Document, sparse: dict[str, Any], values: np.ndarray, kind: str, name: str) -> None:
    count, indices, changed = integer(sparse["count"]), sparse["indices"], sparse["values"]
    if not 0 < count <= len(values):
        raise ValueError(f"{name} replaces {count} of {len(values)} elements")
    index_kind = _KINDS.get(indices.get("componentType"))
    if index_kind not in ("u1", "<u2", "<u4"):
        raise ValueError(f"{name} has sparse indices of another kind")
    rows = _elements(document, indices["bufferView"], indices.get("byteOffset"), index_kind, count, 1, name)[:, 0]
    rows = rows.astype(np.int64)
    if rows[-1] >= len(values) or (np.diff(rows) <= 0).any():
        raise ValueError(f"{name} has sparse indices that do not increase, or are too large")
    place = changed["bufferView"], changed.get("byteOffset")
    values[rows] = _elements(document, *place, kind, count, values.shape[1], name)
