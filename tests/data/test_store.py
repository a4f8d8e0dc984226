import json
import pickle

import numpy as np
import pytest

from diffgs_jax.data import DataConfig, encode_record, has_records, open_store
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError


def test_reads_what_was_written_in_any_order(numbered_store, numbered_record):
    store = open_store(numbered_store())
    assert len(store) == 11 and store.uids == [f"thing/{number:03d}" for number in range(11)]
    for number in (10, 0, 7, 4, 3, 10):
        expected = numbered_record(number)
        assert store[number].uid == expected.uid and store[number].images == expected.images
        np.testing.assert_array_equal(store[number].cameras.camera_to_world, expected.cameras.camera_to_world)
    assert [record.uid for record in store] == store.uids
    assert len(open_store(store.path, "test")) == 2
    with pytest.raises(IndexError):
        store[11]


def test_travels_to_another_process(numbered_store):
    store = pickle.loads(pickle.dumps(open_store(numbered_store(), "test")))
    assert store[1].uid == "thing/012"


def test_writing_never_replaces_and_leaves_nothing_half_made(tmp_path, numbered_store):
    path = numbered_store()
    with pytest.raises(UserError, match="exists already"):
        write_store(path, {"train": []}, {})

    def fails():
        raise OSError("disk full")

    with pytest.raises(UserError, match="disk full"):
        write_store(tmp_path / "new", {"train": [("a", fails)]}, {})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.98])
def test_a_truncated_shard_is_named(numbered_store, kept):
    path = numbered_store()
    shard = path / "train-00001-of-00003.arrayrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match=f"{shard.name} is truncated"):
        open_store(path)
    assert len(open_store(path, "test")) == 2


def test_a_missing_shard_is_named(numbered_store):
    path = numbered_store()
    (path / "train-00002-of-00003.arrayrecord").unlink()
    with pytest.raises(DataError, match="train-00002-of-00003.arrayrecord is missing"):
        open_store(path)


def test_a_corrupt_record_is_named_and_the_others_stay_readable(numbered_store, damage_record):
    path = numbered_store()
    shard = damage_record(path, "thing/005")
    store = open_store(path)
    with pytest.raises(DataError, match=rf"record thing/005 \(.*{shard.name}, number 1\) is corrupt"):
        store[5]
    assert [store[index].uid for index in (4, 6)] == ["thing/004", "thing/006"]


def test_the_index_must_belong_to_the_shards(numbered_store):
    path = numbered_store()
    index = json.loads((path / "index.json").read_text())
    index["splits"]["train"]["uids"].reverse()
    (path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="the index belongs to other shards"):
        open_store(path)[0]


def test_folders_that_are_no_store(tmp_path):
    with pytest.raises(UserError, match="no dataset folder"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no index.json"):
        open_store(tmp_path)
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "not the index of a record store"),
        ('{"format": "diffgs_jax records", "version": 9}', "version 9"),
        ('{"format": "diffgs_jax records", "version": 1, "splits": {}}', "does not describe a train split"),
    ):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(DataError, match=message):
            open_store(tmp_path)


def test_an_empty_side_of_the_split_is_said(tmp_path, numbered_record):
    record = numbered_record(1)
    write_store(tmp_path / "s", {"train": [(record.uid, lambda: encode_record(record))], "test": []}, {})
    with pytest.raises(UserError, match="has no test records: .* evaluate with --split train"):
        open_store(tmp_path / "s", "test")
    config = DataConfig(path=str(tmp_path / "s"))
    assert has_records(config, "train") and not has_records(config, "test")
    both = DataConfig(sources=((str(tmp_path / "s"), 1.0), ("assets/furniture_cc0", 1.0)))
    assert has_records(both, "test")
