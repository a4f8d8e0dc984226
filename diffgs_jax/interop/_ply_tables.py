"""The .ply container (Turk 1994): its header, and the rows of its first element, a block at a time.

Binary of either byte order, or text; lines of the header end with LF, CR LF or CR. Rows are read as they are asked for,
after the file's size was held against what the header announces.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import one_line, shown

_HEADER_BYTES = 2**16
_BLOCK = 2**16  # rows
_TEXT_ROW_BYTES = 2**14
_SCALARS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_KEYWORDS = {"format", "comment", "obj_info", "element", "property"}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": None}


class Table(NamedTuple):
    """The vertices of a .ply, not read yet.

    Attributes:
        names: of the properties, in their order.
        kinds: numpy's names of their types, without byte order.
        count: rows that the header announces.
        order: "<" or ">", or None for text.
        start: where the first row begins, bytes.
        alone: whether the file has no other elements.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    count: int
    order: str | None
    start: int
    alone: bool


def read_header(opened: BinaryIO, name: str) -> Table:
    """Reads a header and holds the file's size against it.

    Args:
        opened: at its beginning.
        name: for messages.

    Raises:
        DataError: if it is no .ply, its first element is not `vertex` with numbers alone, or it is too short.
    """
    head = opened.read(_HEADER_BYTES)
    end_of_line = next((mark for mark in (b"\r\n", b"\n", b"\r") if head[3:].startswith(mark)), None)
    if not head.startswith(b"ply") or end_of_line is None:
        raise DataError(f"{name} is not a .ply file")
    head, mark, _ = head.partition(end_of_line + b"end_header" + end_of_line)
    if not mark:
        raise DataError(f"{name} is not a .ply file: its header has no end")
    lines = [line.split() for line in head.decode("ascii", "replace").split(end_of_line.decode())]
    unknown = next((line[0] for line in lines[1:] if line and line[0] not in _KEYWORDS), None)
    if unknown is not None:
        raise DataError(f"{name} is not a .ply file, or damaged: its header has the keyword {shown(unknown)}")
    formats = [line[1] for line in lines if line[:1] == ["format"] and len(line) == 3 and line[2] == "1.0"]
    if len(formats) != 1 or formats[0] not in _ORDERS:
        raise DataError(f"{name} is a .ply of no known format: {shown(', '.join(formats)) or 'none is named'}")
    names, kinds, count = _vertices(lines, name)
    alone = sum(line[:1] == ["element"] for line in lines) == 1
    table = Table(names, kinds, count, _ORDERS[formats[0]], len(head) + len(mark), alone)
    # A row of text has a digit and a separator for every number at least.
    least = 2 * len(names) if table.order is None else layout(table).itemsize
    there = (os.fstat(opened.fileno()).st_size - table.start + (table.order is None)) // max(least, 1)
    if there < count:
        rows = "at most " * (table.order is None)
        raise DataError(f"{name} is truncated: its header announces {count} Gaussians, {rows}{there} are there")
    return table


def _vertices(lines: list[list[str]], name: str) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    elements = [index for index, line in enumerate(lines) if line[:1] == ["element"]]
    first = lines[elements[0]] if elements else []
    if first[1:2] == ["chunk"]:
        raise DataError(
            f"{name} is a compressed .ply of PlayCanvas: name it .compressed.ply to have it read by splat-transform"
        )
    if first[1:2] != ["vertex"] or len(first) != 3 or not first[2].isdigit() or len(first[2]) > 12:
        raise DataError(f"{name} is not a 3DGS .ply: its first element is not `vertex` with a number of them")
    names, kinds = [], []
    for line in lines[elements[0] + 1 : elements[1] if len(elements) > 1 else None]:
        if line[:1] == ["property"]:
            if len(line) != 3 or line[1] not in _SCALARS:
                raise DataError(f"{name} is not a 3DGS .ply: property {shown(' '.join(line[1:4]))} is not a number")
            names.append(line[2])
            kinds.append(_SCALARS[line[1]])
    if len(set(names)) != len(names):
        raise DataError(f"{name} is not a 3DGS .ply: a property appears twice")
    return tuple(names), tuple(kinds), int(first[2])


def layout(table: Table) -> np.dtype:
    """Returns the layout of a binary row."""
    return np.dtype([(name, f"{table.order}{kind}") for name, kind in zip(table.names, table.kinds, strict=True)])


def read_rows(opened: BinaryIO, table: Table, name: str) -> Iterator[dict[str, np.ndarray]]:
    """Yields the columns of some rows after another, by their names.

    Raises:
        DataError: if the file ends early, or a row of text does not hold one number for each property.
    """
    opened.seek(table.start)
    for begin in range(0, table.count, _BLOCK):
        rows = min(_BLOCK, table.count - begin)
        if table.order is None:
            columns = _text_rows(opened, len(table.names), rows, name)
            yield {column: columns[:, index] for index, column in enumerate(table.names)}
        else:
            kind = layout(table)
            content = opened.read(rows * kind.itemsize)
            if len(content) < rows * kind.itemsize:
                raise DataError(f"{name} is truncated: it ended while it was read")
            block = np.frombuffer(content, kind)
            yield {column: block[column] for column in table.names}
    if table.order is None and table.alone and opened.read(_TEXT_ROW_BYTES).strip():
        raise DataError(f"{name} is damaged: it goes on after the rows that its header announces")


def _text_rows(opened: BinaryIO, width: int, rows: int, name: str) -> np.ndarray:
    lines: list[str] = []
    while len(lines) < rows:
        line = opened.readline(_TEXT_ROW_BYTES)
        if not line or (len(line) == _TEXT_ROW_BYTES and not line.endswith(b"\n")):
            raise DataError(f"{name} is truncated, or has a row of text without end")
        if line.strip():
            lines.append(line.decode("ascii", "replace"))
    try:
        table = np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)
    except ValueError as error:
        raise DataError(f"{name} is damaged: {one_line(error)}") from None
    if table.shape != (rows, width):
        raise DataError(f"{name} is damaged: a row of text has {table.shape[1]} numbers where {width} belong")
    return table
