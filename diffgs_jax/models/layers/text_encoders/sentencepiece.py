"""Models of the sentencepiece program (Kudo and Richardson 2018), read without it.

A model is one message of Google's protocol buffers, of which three fields matter here: the pieces, the settings of the
training (the kind of model, the number of the unknown piece) and those of the normalisation (a table of characters).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from diffgs_jax.errors import DataError

_UNIGRAM = 1
_CONTROL = 3  # kind of a piece that stands for no text


class Piece(NamedTuple):
    """A piece of text, its log-likelihood, and whether it is a mark instead (padding, end)."""

    text: str
    score: float
    special: bool


class Pieces(NamedTuple):
    """A unigram model.

    Attributes:
        pieces: by number.
        unknown: number of the one that stands for whatever has no piece.
        character_map: which characters become which, in the program's own format; empty for none.
    """

    pieces: list[Piece]
    unknown: int
    character_map: bytes


def read_pieces(data: bytes, name: str) -> Pieces:
    """Reads a unigram model.

    Args:
        data: the file's contents.
        name: for messages.

    Raises:
        DataError: if it is damaged, or a model of another kind.
    """
    try:
        pieces, kind, unknown, characters = [], _UNIGRAM, 0, b""
        for field, value in _fields(data):
            if field == 1 and isinstance(value, bytes):
                pieces.append(_piece(value))
            elif field == 2 and isinstance(value, bytes):
                for setting, number in _fields(value):
                    kind = number if setting == 3 else kind
                    unknown = number if setting == 40 else unknown
            elif field == 3 and isinstance(value, bytes):
                characters = next((table for setting, table in _fields(value) if setting == 2), b"")
    except (ValueError, IndexError, struct.error, UnicodeDecodeError):
        raise DataError(f"{name} is truncated or no model of sentencepiece") from None
    if kind != _UNIGRAM:
        raise DataError(f"{name} is a model of sentencepiece, but no unigram one")
    if not pieces or not isinstance(unknown, int) or unknown >= len(pieces) or not isinstance(characters, bytes):
        raise DataError(f"{name} is no model of sentencepiece")
    return Pieces(pieces, unknown, characters)


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    text, score = fields[1], fields.get(2, b"\0\0\0\0")
    if not isinstance(text, bytes) or not isinstance(score, bytes):
        raise ValueError("a piece without text or score")
    return Piece(text.decode("utf-8"), struct.unpack("<f", score)[0], fields.get(3) == _CONTROL)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields the fields of a message: whole numbers, or bytes (texts, messages and floats)."""
    place = 0
    while place < len(data):
        key, place = _whole(data, place)
        match key & 7:
            case 0:
                value, place = _whole(data, place)
            case 1 | 5 as width:
                size = 8 if width == 1 else 4
                value, place = data[place : place + size], place + size
            case 2:
                size, place = _whole(data, place)
                value, place = data[place : place + size], place + size
            case _:
                raise ValueError("a kind of field that no such file has")
        if place > len(data):
            raise ValueError("a field reaches beyond the end")
        yield key >> 3, value


def _whole(data: bytes, place: int) -> tuple[int, int]:
    """Returns a whole number of up to ten bytes, seven bits in each, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than 64 bits")
