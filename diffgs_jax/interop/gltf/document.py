"""The outside of a glTF file: its JSON, its buffers, what it requires of a reader.

Source: glTF 2.0 specification, sections 3.2 to 3.6 and 4 (GLB).
"""

import base64
import binascii
import contextlib
import math
import pathlib
import struct
import urllib.parse
from collections.abc import Generator
from typing import Any, NamedTuple

from diffgs_jax.errors import DataError, printable
from diffgs_jax.files import json_object, parse_json, read_regular, shown

MOST_BYTES = 512 * 2**20
"""A file and the buffers and images beside it must not be larger than this together."""
_LONGEST = 500  # characters of a message
_MOST_TEXT = 128 * 2**20
_MOST_VALUES = 4_000_000
"""Values in the JSON, of which each takes some hundred bytes in memory."""

IMPLEMENTED = frozenset(
    {
        "EXT_texture_webp",
        "KHR_gaussian_splatting",
        "KHR_lights_punctual",  # records have light of their own
        "KHR_materials_emissive_strength",
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_unlit",
        "KHR_mesh_quantization",
        "KHR_node_visibility",
        "KHR_texture_transform",
        "KHR_xmp_json_ld",  # says who made it
    }
)
"""Extensions that a file may require."""


class Document(NamedTuple):
    """A glTF file.

    Attributes:
        path: for messages, and where the files beside it are.
        content: the JSON.
        buffers: their bytes; None for one that an extension is to fill.
    """

    path: pathlib.Path
    content: dict[str, Any]
    buffers: list[memoryview | None]


@contextlib.contextmanager
def valid_document(path: pathlib.Path) -> Generator[None, None, None]:
    """Turns whatever a file's content makes the block stumble over into one line.

    Raises:
        DataError: instead of what a malformed file leads to.
    """
    try:
        yield
    except DataError as error:
        raise DataError(printable(str(error), _LONGEST)) from None
    except KeyError as error:
        raise DataError(f"{path} is no valid glTF file: {printable(str(error), _LONGEST)} is missing") from None
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError, ArithmeticError) as error:
        raise DataError(f"{path} is no valid glTF file: {printable(str(error), _LONGEST)}") from None


def open_document(path: pathlib.Path) -> Document:
    """Returns a glTF file with its buffers.

    Args:
        path: `.glb` or `.gltf`; buffers and images beside a `.gltf` are found in its folder or below.

    Raises:
        DataError: if it is not glTF 2, or requires an extension that is not implemented.
    """
    data = read_regular(path, limit=MOST_BYTES, unreadable=DataError)
    text, binary = _chunks(path, data) if data[:4] == b"glTF" else (data, None)
    content = _json(path, bytes(text))
    asset = content["asset"]
    if str(asset["version"]).split(".")[0] != "2" or asset.get("minVersion", "2.0") != "2.0":
        versions = [str(asset.get(name))[:20] for name in ("version", "minVersion")]
        raise DataError(f"{path} is glTF {versions[0]} (at least {versions[1]}); version 2.0 is what can be read")
    document = Document(path, content, [])
    missing = sorted(set(map(str, items(content, "extensionsRequired"))) - IMPLEMENTED)
    if missing:
        raise unimplemented(document, ", ".join(missing))
    size = len(data)
    for number, buffer in enumerate(items(content, "buffers")):
        if "uri" in buffer:
            held = memoryview(resource(path, buffer["uri"]))
        else:
            held = binary if number == 0 else None
        if held is not None and len(held) < integer(buffer["byteLength"]):
            raise DataError(f"{path} ends early: buffer {number} has {len(held)} of {buffer['byteLength']} bytes")
        size += 0 if held is binary or held is None else len(held)
        if size > MOST_BYTES:
            raise DataError(f"{path} has more than {MOST_BYTES} bytes of buffers")
        document.buffers.append(held if held is None else held[: integer(buffer["byteLength"])])
    return document


def unimplemented(document: Document, name: str) -> DataError:
    """Returns the error for a file that means nothing, or something else, without an extension."""
    return DataError(
        f"{document.path} needs the glTF extension {name[:200]}, which is not implemented; export it without"
    )


def _chunks(path: pathlib.Path, data: bytes) -> tuple[memoryview, memoryview | None]:
    """Returns the JSON and the binary chunk of a GLB; other chunks are to be skipped."""
    whole = memoryview(data)
    try:
        _, version, length = struct.unpack_from("<4sII", whole)
        if version != 2:
            raise DataError(f"{path} is GLB version {version}; version 2 is what can be read")
        if length > len(whole):
            raise DataError(f"{path} is truncated: {len(whole)} of {length} bytes")
        place, chunks = 12, []
        while place + 8 <= length:
            size, kind = struct.unpack_from("<I4s", whole, place)
            if place + 8 + size > length:
                raise DataError(f"{path} has a chunk that ends after the file")
            chunks.append((kind, whole[place + 8 : place + 8 + size]))
            place += 8 + size
    except struct.error:
        raise DataError(f"{path} is truncated: it ends within the header") from None
    if not chunks or chunks[0][0] != b"JSON":
        raise DataError(f"{path} has no JSON chunk")
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == b"BIN\0" else None
    return chunks[0][1], binary


def _json(path: pathlib.Path, text: bytes) -> dict[str, Any]:
    if sum(map(text.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise DataError(f"{path} has more than {_MOST_VALUES} values in its JSON")
    return json_object(parse_json(text, shown(path), limit=_MOST_TEXT, any_text=True), shown(path))


def resource(path: pathlib.Path, uri: Any) -> bytes:
    """Returns what a URI in a glTF file stands for: data in it, or a file beside it.

    Raises:
        DataError: if there is no such file, or it is not in the glTF file's folder.
    """
    if not isinstance(uri, str):
        raise DataError(f"{path} has a uri that is no text")
    if uri.startswith("data:"):
        head, comma, body = uri.partition(",")
        if not comma or not head.endswith(";base64"):
            raise DataError(f"{path} has a data: uri that is not base64")
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(f"{path} has a data: uri that is not base64: {error}") from None
    return read_beside(path, urllib.parse.unquote(uri))


def read_beside(path: pathlib.Path, name: str) -> bytes:
    """Returns a file in the folder of `path` or below it.

    Raises:
        DataError: if it is elsewhere, cannot be read, is no regular file, or is too large.
    """
    try:
        folder = path.parent.resolve()
        file = (folder / name).resolve()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} names a file that no file can be: {error}") from None
    if not file.is_relative_to(folder):
        raise DataError(f"{path} names {name[:200]!r}, which is not in its folder")
    return read_regular(file, limit=MOST_BYTES, unreadable=DataError)


def items(holder: dict[str, Any], name: str) -> list[Any]:
    """Returns a list of a JSON object, empty where there is none.

    Raises:
        ValueError: if it is no list.
    """
    found = holder.get(name, [])
    if not isinstance(found, list):
        raise ValueError(f"{name} is no list")
    return found


def item(holder: dict[str, Any], name: str, number: Any) -> dict[str, Any]:
    """Returns an object of a list, by its index.

    Raises:
        ValueError: if there is none.
    """
    found, index = items(holder, name), integer(number)
    if index >= len(found) or not isinstance(found[index], dict):
        raise ValueError(f"there is no {name}[{index}]")
    return found[index]


def integer(value: Any, default: int | None = None) -> int:
    """Returns a JSON integer that is not negative.

    Raises:
        ValueError: if it is something else.
    """
    if value is None and default is not None:
        return default
    if isinstance(value, float) and value.is_integer():  # JSON has one kind of number
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{str(value)[:40]!r} is no index or count")
    return value


def numbers(value: Any, default: tuple[float, ...]) -> tuple[float, ...]:
    """Returns as many finite JSON numbers as `default` has, and those where there are none.

    Raises:
        ValueError: if it is something else.
    """
    if value is None:
        return default
    found = value if isinstance(value, list) else [value]
    if len(found) != len(default) or any(isinstance(x, bool) or not isinstance(x, int | float) for x in found):
        raise ValueError(f"{str(value)[:60]} is not {len(default)} numbers")
    found = tuple(float(x) for x in found)
    if not all(map(math.isfinite, found)):
        raise ValueError("a number is not finite")
    return found


def extension(holder: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Returns what an object says in an extension, or None."""
    return holder.get("extensions", {}).get(name)
