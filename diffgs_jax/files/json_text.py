"""JSON of any origin, parsed within limits and without guessing.

Python's parser takes more than JSON: NaN and infinities, and of two equal names in an object it keeps the last. It lets
single surrogates and NUL characters into strings, which no file name and no terminal takes, nests a thousand levels
deep, and its numbers have any number of digits. RFC 8259 leaves limits to the reader; here they are.
"""

import collections
import json
import math
import os
from typing import Any

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files.opening import one_line, read_regular, shown, shown_size

JSON_LIMIT = 16 * 2**20
"""Bytes of a JSON file unless its reader says otherwise; what it becomes takes up to 80 times as much (empty lists)."""

_DEPTH = 64


def load_json(
    path: str | os.PathLike[str], *, limit: int = JSON_LIMIT, unreadable: type[ValueError] = UserError
) -> Any:
    """Returns what a JSON file says.

    Args:
        path: of a regular file.
        limit: bytes.
        unreadable: raised when it cannot be read; see `open_regular`.

    Raises:
        UserError: or `unreadable`: if it cannot be read.
        DataError: if it is too large or not JSON; see `parse_json`.
    """
    return parse_json(read_regular(path, limit=limit, unreadable=unreadable), shown(path), limit=limit)


def parse_json(text: bytes | str, name: str, *, limit: int = JSON_LIMIT, any_text: bool = False) -> Any:
    """Returns what JSON text says: finite floats, integers of 64 bits, strings that can be printed and written.

    Args:
        text: UTF-8, UTF-16 or UTF-32, with or without a mark of order.
        name: for messages.
        limit: bytes or characters.
        any_text: take strings with a NUL or half a character, for files of what many people wrote.

    Raises:
        DataError: if it is longer, not JSON, nested more than 64 levels deep, or has two equal names in an object, a
            number that is not finite or too large, or a string with a NUL or half a character.
    """
    if len(text) > limit:
        raise DataError(f"{name} is too large: {shown_size(len(text))}, and at most {shown_size(limit)} are read")
    try:
        decoded = text if isinstance(text, str) else text.decode(json.detect_encoding(text))
        value = json.loads(
            decoded, parse_int=_integer, parse_float=_real, parse_constant=_refuse_constant, object_pairs_hook=_object
        )
        _check(value, any_text)
    except RecursionError:
        raise DataError(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{name} is not JSON that can be used: {one_line(error)}") from None
    return value


def json_object(value: Any, name: str) -> dict[str, Any]:
    """Returns a value that must be an object.

    Raises:
        DataError: if it is anything else.
    """
    if not isinstance(value, dict):
        kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
        raise DataError(f"{name} is {kinds.get(type(value), 'a number')} where a JSON object is expected")
    return value


def json_list(value: Any, name: str) -> list[Any]:
    """Returns a value that must be a list.

    Raises:
        DataError: if it is anything else.
    """
    if not isinstance(value, list):
        kinds = {dict: "an object", str: "a string", bool: "true or false", type(None): "null"}
        raise DataError(f"{name} is {kinds.get(type(value), 'a number')} where a JSON list is expected")
    return value


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= 21 else 2**64
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"the number {digits[:20]}… does not fit into 64 bits")
    return value


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        double = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"an object has two values for {double[:40]!r}")
    return found


def _check(value: Any, any_text: bool) -> None:
    """Walks level by level, so that the walk itself needs no depth."""
    level = [value]
    for _ in range(_DEPTH):
        following: list[Any] = []
        for item in level:
            if isinstance(item, str) and not any_text:
                _check_text(item)
            elif isinstance(item, list):
                following += item
            elif isinstance(item, dict):
                following += [*item, *item.values()]
        if not following:
            return
        level = following
    raise ValueError(f"it is nested more than {_DEPTH} levels deep")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError(f"a string has a NUL character: {text[:20]!r}")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"a string has half a character: {text[:20]!r}")
