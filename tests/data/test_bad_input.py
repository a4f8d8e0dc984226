"""Every kind of damage is named with file and record, counted and replaced, and nothing else is lost."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data import DataConfig, encode_record, open_store, training_batches
from diffgs_jax.data import records as records_module
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Cameras

BAD = 5
"""The record that is damaged: number 1 of the second shard of four."""


def cameras_with(record, view, change):
    poses, intrinsics = record.cameras.camera_to_world.copy(), record.cameras.intrinsics.copy()
    change(poses[view], intrinsics[view])
    return record._replace(cameras=Cameras(poses, intrinsics))


def image_with(record, view, encoded):
    return record._replace(images=[*record.images[:view], encoded, *record.images[view + 1 :]])


def nan_pose(record):
    def change(pose, _):
        pose[0, 3] = np.nan

    return cameras_with(record, 2, change)


def left_handed(record):
    def change(pose, _):
        pose[:3, 0] *= -1

    return cameras_with(record, 2, change)


def absurd_intrinsics(record):
    def change(_, intrinsics):
        intrinsics[0] = 1e6

    return cameras_with(record, 2, change)


def missing_view(record):
    return image_with(record, 2, b"")


def too_few_views(record):
    cameras = Cameras(*(array[:3] for array in record.cameras))
    return record._replace(images=record.images[:3], cameras=cameras)


def wrong_count(record):
    return record._replace(cameras=Cameras(*(array[:-1] for array in record.cameras)))


DAMAGES = {
    "not finite": nan_pose,
    "left-handed": left_handed,
    "absurd intrinsics": absurd_intrinsics,
    "view 2 is missing": missing_view,
    "only 3 views of the 6": too_few_views,
    "has 8 images but not as many cameras": wrong_count,
}


@pytest.fixture
def make_store(tmp_path, numbered_record, monkeypatch):
    def make(folder, damage=None):
        every = [numbered_record(number) for number in range(11)]
        if damage is not None:
            every[BAD] = damage(every[BAD])
        with monkeypatch.context() as patch:
            patch.setattr(records_module, "_check_counts", lambda record: None)  # a foreign writer does not check
            items = [(record.uid, lambda record=record: encode_record(record)) for record in every]
            write_store(tmp_path / folder, {"train": items}, {}, shard_size=4)
        return tmp_path / folder

    return make


def settings(path, **changes):
    config = DataConfig(path=str(path), resolution=8, batch_size=4, threads=1, max_bad_records=1)
    return dataclasses.replace(config, **changes)


def take(batches, count):
    return [next(batches) for _ in range(count)]


def assert_replaced(whole, found, bad=(BAD,), by=(BAD + 1,)):
    """All but the bad records' samples are as they would have been."""
    for expected, batch in zip(whole, found, strict=True):
        spoilt = np.isin(expected.record, bad)
        np.testing.assert_array_equal(batch.record[~spoilt], expected.record[~spoilt])
        np.testing.assert_array_equal(batch.inputs.images[~spoilt], expected.inputs.images[~spoilt])
        assert np.isin(batch.record[spoilt], by).all()


@pytest.mark.slow
@pytest.mark.parametrize("gigabytes", [1.0, 0.0])
@pytest.mark.parametrize("message", DAMAGES)
def test_a_bad_record_is_named_counted_and_replaced(make_store, caplog, message, gigabytes):
    path = make_store("damaged", DAMAGES[message])
    batches = training_batches(settings(path, cache_gigabytes=gigabytes))
    whole = take(training_batches(settings(make_store("whole"))), 12)
    assert_replaced(whole, take(batches, 12))
    assert batches.bad_records == ["thing/005"]
    (line,) = [line for line in caplog.messages if "unreadable" in line]
    assert message in line and "record thing/005" in line and "train-00001-of-00003.arrayrecord" in line
    with pytest.raises(DataError, match="1 unreadable records, more than max_bad_records = 0"):
        take(training_batches(settings(path, max_bad_records=0)), 12)


def truncated_picture(record):
    return image_with(record, 2, record.images[2][:40])


def no_picture(record):
    return image_with(record, 2, b"<html>404</html>")


def empty_mask(record):
    file = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(file, "PNG")
    return image_with(record, 2, file.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [(truncated_picture, "cannot be decoded"), (no_picture, "cannot be decoded"), (empty_mask, "its mask is empty")],
)
def test_a_bad_view_costs_only_the_samples_that_show_it(make_store, caplog, damage, message):
    """Whether views are kept in memory or decoded one by one, and wherever the run was continued."""
    path = make_store("damaged", damage)
    whole = take(training_batches(settings(make_store("whole"))), 12)
    batches = training_batches(settings(path))
    found = take(batches, 12)
    assert batches.bad_records == ["thing/005"]
    (line,) = [line for line in caplog.messages if "unreadable" in line]
    assert message in line and "record thing/005" in line and "00001-of-00003" in line and "view 2" in line
    spared = 0
    for expected, batch in zip(whole, found, strict=True):
        images = np.concatenate([expected.inputs.images, expected.targets.images], axis=1)
        shows = (np.rint(images[:, :, 0, 0, 1] * 255 / 20) == 2).any(axis=1) & (expected.record == BAD)
        spared += ((expected.record == BAD) & ~shows).sum()
        np.testing.assert_array_equal(batch.record, np.where(shows, BAD + 1, expected.record))
        np.testing.assert_array_equal(batch.inputs.images[~shows], expected.inputs.images[~shows])
    assert spared
    for cut in (0, 4, 9):
        batches = training_batches(settings(path, cache_gigabytes=0.0, threads=0))
        batches.set_state(batches.get_state() | {"iterator": {"next_index": cut}})
        for a, b in zip(found[cut:], take(batches, 12 - cut), strict=True):
            np.testing.assert_array_equal(a.record, b.record)
            np.testing.assert_array_equal(a.inputs.images, b.inputs.images)


@pytest.mark.parametrize("kept", [0, 100, None])
def test_the_records_of_a_damaged_shard_are_replaced_within_the_limit(make_store, caplog, kept):
    path = make_store("damaged")
    whole = take(training_batches(settings(path)), 12)
    shard = path / "train-00001-of-00003.arrayrecord"
    if kept is None:
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(DataError, match="4 unreadable records, more than max_bad_records = 3.*00001-of-00003"):
        training_batches(settings(path, max_bad_records=3))
    caplog.clear()
    batches = training_batches(settings(path, max_bad_records=4))
    assert_replaced(whole, take(batches, 12), bad=(4, 5, 6, 7), by=(8,))
    assert batches.bad_records == [f"thing/00{number}" for number in (4, 5, 6, 7)]
    (line,) = [line for line in caplog.messages if "its 4 records" in line]
    assert shard.name in line
    store = open_store(path, tolerant=True)
    with pytest.raises(DataError, match=rf"record thing/005 \(.*{shard.name}, number 1\) is lost"):
        store[5]
    assert store[8].uid == "thing/008"
