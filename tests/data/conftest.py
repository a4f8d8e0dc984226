import pytest
from numbered_records import numbered_record as _numbered_record

from diffgs_jax.data.records import encode_record
from diffgs_jax.data.store import write_store


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
