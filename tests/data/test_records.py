import msgpack
import numpy as np
import pytest

from diffgs_jax.data import EncodedMap, Record, decode_record, encode_record
from diffgs_jax.errors import DataError
from diffgs_jax.synthesis.meshes.viewpoints import random_viewpoints


def a_record(views=3, **fields):
    cameras = random_viewpoints("a", views)
    defaults = {"uid": "a", "domain": "object", "images": [b"one", b"", b"\x00three"][:views], "cameras": cameras}
    return Record(**{**defaults, **fields})


def test_round_trip_keeps_every_field():
    depth = EncodedMap([b"1", b"2", b"3"], {"kind": "planar z", "scale": 0.001, "invalid": 0})
    record = a_record(
        maps={"depth": depth}, caption="Ein Stuhl – 椅子", creator="Jörg", license="CC0-1.0", domain="scene"
    )
    back = decode_record(encode_record(record))
    for name, value in record._asdict().items():
        if name == "cameras":
            for mine, theirs in zip(value, back.cameras, strict=True):
                assert theirs.dtype == np.float32
                np.testing.assert_array_equal(mine, theirs)
        else:
            assert getattr(back, name) == value


def test_no_caption_stays_none():
    assert decode_record(encode_record(a_record())).caption is None


@pytest.mark.parametrize("bad", [b"", b"\xc1", b"text", msgpack.packb([1]), msgpack.packb({"version": 1})])
def test_foreign_bytes_are_named_as_such(bad):
    with pytest.raises(DataError, match="not a record"):
        decode_record(bad)


def test_every_truncation_is_an_error():
    encoded = encode_record(a_record())
    for length in range(len(encoded)):
        with pytest.raises(DataError):
            decode_record(encoded[:length])


def test_later_versions_are_refused():
    fields = msgpack.unpackb(encode_record(a_record()))
    with pytest.raises(DataError, match="version 2"):
        decode_record(msgpack.packb({**fields, "version": 2}))


def test_as_many_cameras_and_maps_as_pictures():
    with pytest.raises(DataError, match="record a has 3 images"):
        encode_record(a_record(cameras=random_viewpoints("a", 2)))
    with pytest.raises(DataError, match="1 of its map depth"):
        encode_record(a_record(maps={"depth": EncodedMap([b"1"], {})}))
