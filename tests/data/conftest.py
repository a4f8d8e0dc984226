import io

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data.records import Record, encode_record
from diffgs_jax.data.store import write_store
from diffgs_jax.synthesis.meshes.viewpoints import random_viewpoints


def _flat_picture(color, size=8):
    file = io.BytesIO()
    Image.fromarray(np.broadcast_to(np.asarray(color, np.uint8), (size, size, len(color))).copy()).save(file, "PNG")
    return file.getvalue()


def _numbered_record(number, views=8, **fields):
    """A record whose pictures tell which they are: red is 10 × record, green is 20 × view."""
    uid = f"thing/{number:03d}"
    images = [_flat_picture((10 * number, 20 * view, 255, 255)) for view in range(views)]
    defaults = {"uid": uid, "domain": "object", "images": images, "cameras": random_viewpoints(uid, views)}
    return Record(**{**defaults, **fields})


@pytest.fixture
def numbered_store(tmp_path):
    """Eleven training records in shards of four, and two test records."""

    def make(records=11, folder="store"):
        every = [_numbered_record(number) for number in range(records + 2)]
        items = [(record.uid, lambda record=record: encode_record(record)) for record in every]
        path = tmp_path / folder
        write_store(path, {"train": items[:records], "test": items[records:]}, {"name": "numbers"}, shard_size=4)
        return path

    return make


def _damage(path, uid):
    """Overwrites bytes in the middle of a record's pictures, wherever its shard is."""
    for shard in path.glob("*.arrayrecord"):
        content = bytearray(shard.read_bytes())
        start = content.find(uid.encode())
        if start >= 0:
            content[start + 150 : start + 160] = bytes(255 - byte for byte in content[start + 150 : start + 160])
            shard.write_bytes(content)
            return shard
    raise AssertionError(f"{uid} is in no shard")


@pytest.fixture
def damage_record():
    return _damage


@pytest.fixture
def numbered_record():
    return _numbered_record
