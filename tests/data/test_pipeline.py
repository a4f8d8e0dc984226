import dataclasses
import json
import threading

import jax
import numpy as np
import pytest

from diffgs_jax.data import (
    CameraAugmentation,
    DataConfig,
    ObjectViewLimits,
    SceneViewLimits,
    device_batches,
    encode_record,
    open_store,
    training_batches,
)
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError

FIRST_VERSION_RECORDS = [[1, 2, 4, 5], [9, 7, 10, 6], [0, 3, 8, 9], [10, 1, 8, 2]]
"""What the first released version read of eleven records in batches of four, seed 0."""


def settings(folder, **changes):
    config = DataConfig(path=str(folder), resolution=8, batch_size=4, threads=1, prefetch=2)
    return dataclasses.replace(config, **changes)


def take(config, count, **options):
    batches = training_batches(config, **options)
    return [next(batches) for _ in range(count)]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def view_numbers(images):
    """What `numbered_record` painted: green is 20 × view."""
    return np.rint(images[:, :, 0, 0, 1] * 255 / 20).astype(int)


def test_shapes_and_flags(numbered_store):
    config = settings(numbered_store(), condition_views=2, noisy_views=3, novel_views=1)
    (batch,) = take(config, 1)
    assert batch.inputs.images.shape == (4, 5, 8, 8, 3) and batch.inputs.images.dtype == np.float32
    assert batch.targets.images.shape == (4, 1, 8, 8, 3) and batch.targets.alphas.shape == (4, 1, 8, 8)
    assert batch.inputs.cameras.camera_to_world.shape == (4, 5, 4, 4)
    np.testing.assert_array_equal(batch.inputs.is_condition, [[True, True, False, False, False]] * 4)
    assert not batch.targets.is_condition.any()
    assert batch.inputs.domain.dtype == np.int32 and batch.record.dtype == np.int32


def test_views_are_distinct_and_come_with_their_own_camera_turned_to_azimuth_zero(numbered_store):
    path = numbered_store()
    store = open_store(path)
    for batch in take(settings(path), 6):
        images = np.concatenate([batch.inputs.images, batch.targets.images], axis=1)
        poses = np.concatenate([batch.inputs.cameras.camera_to_world, batch.targets.cameras.camera_to_world], axis=1)
        views = view_numbers(images)
        np.testing.assert_array_equal(np.rint(images[:, :, 0, 0, 0] * 255 / 10), np.tile(batch.record[:, None], 6))
        for sample in range(4):
            assert len(set(views[sample])) == 6
            stored = store[int(batch.record[sample])].cameras.camera_to_world[views[sample]]
            x, y, _ = poses[sample, 0, :3, 3]
            assert abs(y) < 1e-6 and x > 0
            # One turn about z takes all the stored poses to those of the batch.
            turn = poses[sample] @ np.linalg.inv(stored)
            np.testing.assert_allclose(turn, np.broadcast_to(turn[0], turn.shape), atol=1e-5)
            np.testing.assert_allclose(turn[0] @ [0, 0, 1, 0], [0, 0, 1, 0], atol=1e-5)
            np.testing.assert_allclose(turn[0][:3, 3], 0, atol=1e-5)


def test_every_record_once_in_an_epoch_and_another_order_in_the_next(numbered_store):
    numbers = np.concatenate([batch.record for batch in take(settings(numbered_store(), batch_size=1), 33)])
    epochs = numbers.reshape(3, 11)
    assert (np.sort(epochs, axis=1) == np.arange(11)).all()
    assert not (epochs[0] == epochs[1]).all() and not (epochs[1] == epochs[2]).all()


def test_seed_decides_everything_threads_and_memory_nothing(numbered_store):
    path = numbered_store()
    expected = take(settings(path), 8)
    assert_same(expected, take(settings(path), 8))
    assert_same(expected, take(settings(path, threads=4, prefetch=8), 8))
    assert_same(expected, take(settings(path, threads=0), 8))
    assert_same(expected, take(settings(path, cache_gigabytes=0.0), 8))
    assert_same(expected, take(settings(path, cache_gigabytes=3 * 8 * 8 * 8 * 4 / 1e9), 8))
    other = take(settings(path, seed=1), 8)
    assert any((a.record != b.record).any() for a, b in zip(expected, other, strict=True))


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_every_batch(numbered_store, hosts):
    path = numbered_store()
    parts = [take(settings(path), 5, process_index=host, process_count=hosts) for host in range(hosts)]
    together = [jax.tree.map(lambda *arrays: np.concatenate(arrays), *step) for step in zip(*parts, strict=True)]
    assert_same(take(settings(path), 5), together)


@pytest.mark.slow
def test_goes_on_exactly_after_any_cut_with_any_number_of_threads(numbered_store):
    """Mixed, limited and augmented: everything that draws numbers at once."""
    config = settings(
        "",
        sources=((str(numbered_store()), 3.0), (str(numbered_store(5, "other")), 1.0)),
        object_limits=ObjectViewLimits(noisy_position=150.0),
        augmentation=CameraAugmentation(flip=0.5, roll=5.0, crop=0.9),
        random_background=0.5,
        condition_views=1,
        noisy_views=2,
        novel_views=1,
    )
    whole = take(config, 15)
    random = np.random.default_rng(1)
    for cut in random.choice(15, 4, replace=False):
        first = training_batches(dataclasses.replace(config, threads=int(random.integers(0, 4)), prefetch=3))
        for _ in range(cut):
            next(first)
        state = json.loads(json.dumps(first.get_state()))
        rest = training_batches(dataclasses.replace(config, threads=int(random.integers(0, 4)), cache_gigabytes=0.0))
        rest.set_state(state)
        assert_same(whole[cut:], [next(rest) for _ in range(15 - cut)])
        first.close()
        rest.close()


def test_batches_are_those_of_the_first_version(numbered_store):
    """Runs that were begun with it go on: the order of records, and the views of each, by then only random draws."""
    numbers, views = [], []
    for batch in take(settings(numbered_store()), 4):
        numbers.append(batch.record.tolist())
        views.append(view_numbers(np.concatenate([batch.inputs.images, batch.targets.images], axis=1)).tolist())
    assert numbers == FIRST_VERSION_RECORDS
    expected = [
        [np.random.default_rng([0, 4 * step + i]).choice(8, 6, replace=False).tolist() for i in range(4)]
        for step in range(4)
    ]
    assert views == expected


def test_a_checkpoint_of_the_first_version_is_continued(numbered_store):
    path = numbered_store()
    state = {
        "settings": {
            "resolution": 8,
            "batch_size": 4,
            "condition_views": 1,
            "noisy_views": 3,
            "novel_views": 2,
            "background": 1.0,
            "seed": 0,
            "records": 11,
        },
        "iterator": {"next_index": 3},
    }
    rest = training_batches(settings(path))
    rest.set_state(state)
    assert_same(take(settings(path), 5)[3:], [next(rest), next(rest)])
    # Reading depth was a setting of the data before it followed from the model.
    for depth in (False, True):
        training_batches(settings(path)).set_state({**state, "settings": state["settings"] | {"depth": depth}})
    with pytest.raises(UserError, match="random_background 0.0 → 0.5"):
        training_batches(settings(path, random_background=0.5)).set_state(state)
    with pytest.raises(UserError, match=r"augmentation.flip 0.0 → 0.5"):
        training_batches(settings(path, augmentation=CameraAugmentation(flip=0.5))).set_state(state)


def test_continuing_with_other_data_is_refused_in_one_line(numbered_store, numbered_record, tmp_path):
    path = numbered_store()
    state = json.loads(json.dumps(training_batches(settings(path)).get_state()))
    same = numbered_store(folder="a copy elsewhere")
    training_batches(settings(same)).set_state(state)

    def refused(config):
        with pytest.raises(UserError) as error:
            training_batches(config).set_state(state)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "records 11 → 7" in refused(settings(numbered_store(7, "smaller")))
    renamed = [numbered_record(number)._replace(uid=f"other/{number:03d}") for number in range(11)]
    write_store(tmp_path / "renamed", {"train": [(one.uid, lambda one=one: encode_record(one)) for one in renamed]}, {})
    assert "record_names" in refused(settings(tmp_path / "renamed"))
    larger = [numbered_record(number, views=9) for number in range(11)]
    write_store(tmp_path / "larger", {"train": [(one.uid, lambda one=one: encode_record(one)) for one in larger]}, {})
    assert "shard_bytes" in refused(settings(tmp_path / "larger"))
    assert "batch_size 4 → 2" in refused(settings(path, batch_size=2))
    assert "one dataset → several" in refused(settings("", sources=((str(path), 1.0), (str(same), 1.0))))


def test_devices_get_the_same_batches_ahead_of_time(numbered_store):
    config = settings(numbered_store(), threads=2)
    whole = take(config, 12)
    for cut in (0, 1, 5):
        first = device_batches(training_batches(config), ahead=3)
        for expected in whole[:cut]:
            assert_same([expected], [next(first)])
        state = json.loads(json.dumps(first.get_state()))
        next(first)
        rest = device_batches(training_batches(config), ahead=1)
        next(rest)
        rest.set_state(state)
        batch = next(rest)
        assert isinstance(batch.inputs.images, jax.Array)
        assert_same(whole[cut : cut + 3], [batch, next(rest), next(rest)])
        first.close()
        rest.close()


def test_devices_get_the_sharding_they_are_asked_for(numbered_store):
    config = settings(numbered_store())
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:1]), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    batches = device_batches(training_batches(config), sharding=sharding)
    batch = next(batches)
    assert all(leaf.sharding == sharding for leaf in jax.tree.leaves(batch))
    assert_same(take(config, 1), [batch])
    batches.close()


def test_batches_before_a_failure_are_handed_out(numbered_store, damage_record):
    path = numbered_store()
    config = settings(path, max_bad_records=0, cache_gigabytes=0.0, threads=1)
    order = [batch.record for batch in take(config, 6)]
    damage_record(path, f"thing/{order[2][1]:03d}")
    due = next(step for step, numbers in enumerate(order) if order[2][1] in numbers)
    batches = device_batches(training_batches(config), ahead=4)
    for _ in range(due):
        next(batches)
    for _ in range(2):
        with pytest.raises(DataError, match="unreadable"):
            next(batches)


def test_random_backgrounds_show_through_where_there_is_nothing(numbered_store):
    path = numbered_store()
    (plain,) = take(settings(path), 1)
    assert plain.inputs.background is None
    (always,) = take(settings(path, random_background=1.0), 1)
    assert always.inputs.background.shape == (4, 3) and len(np.unique(always.inputs.background, axis=0)) == 4
    np.testing.assert_array_equal(always.record, plain.record)
    np.testing.assert_array_equal(always.inputs.images, plain.inputs.images)  # these pictures are opaque
    np.testing.assert_array_equal(always.targets.background, always.inputs.background)


def test_continuing_with_other_settings_is_refused(numbered_store):
    path = numbered_store()
    state = training_batches(settings(path)).get_state()
    for changes in ({"batch_size": 2}, {"seed": 3}, {"noisy_views": 2}):
        with pytest.raises(UserError, match=next(iter(changes))):
            training_batches(settings(path, **changes)).set_state(state)
    with pytest.raises(UserError, match="records"):
        training_batches(settings(numbered_store(7, "smaller"))).set_state(state)


def test_a_corrupt_record_is_replaced_by_the_next_and_nothing_else_changes(numbered_store, damage_record, caplog):
    path, damaged = numbered_store(), numbered_store(folder="damaged")
    damage_record(damaged, "thing/006")
    batches = training_batches(settings(damaged))
    for expected in take(settings(path), 12):
        batch = next(batches)
        np.testing.assert_array_equal(batch.record, np.where(expected.record == 6, 7, expected.record))
        same = expected.record != 6
        np.testing.assert_array_equal(batch.inputs.images[same], expected.inputs.images[same])
    assert batches.bad_records == ["thing/006"]
    assert len([line for line in caplog.messages if "thing/006" in line]) == 1


def test_two_corrupt_records_in_a_row(numbered_store, damage_record):
    path = numbered_store()
    damage_record(path, "thing/010")
    damage_record(path, "thing/000")
    batches = training_batches(settings(path))
    numbers = np.concatenate([next(batches).record for _ in range(11)])
    assert set(numbers) == set(range(1, 10))
    assert (numbers == 1).sum() == 12


def test_past_the_limit_the_run_stops_with_one_line(numbered_store, damage_record):
    path = numbered_store()
    for number in (1, 4, 8):
        damage_record(path, f"thing/{number:03d}")
    take(settings(path, max_bad_records=3), 6)
    with pytest.raises(DataError, match="3 unreadable records, more than max_bad_records = 2"):
        take(settings(path, max_bad_records=2, threads=2), 6)


def test_a_store_of_bad_records_only(numbered_store, damage_record):
    path = numbered_store(2)
    damage_record(path, "thing/000")
    damage_record(path, "thing/001")
    with pytest.raises(DataError, match="no record"):
        take(settings(path), 1)


def test_records_with_too_few_views_are_told(numbered_store):
    with pytest.raises(DataError, match="only 8 views of the 9"):
        take(settings(numbered_store(), noisy_views=6, max_bad_records=2), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 3}, "batch_size 3 does not divide among 2"),
        ({"condition_views": 0, "noisy_views": 0}, "both 0"),
        ({"noisy_views": -1}, "data.noisy_views is -1"),
        ({"background": 2.0}, "data.background"),
        ({"path": "nowhere"}, "no dataset folder nowhere"),
        ({"sources": (("nowhere", 1.0),)}, "no dataset folder nowhere"),
        ({"sources": (("here", 0.0),)}, "gives here the share 0.0"),
        ({"random_background": 2.0}, "data.random_background"),
        ({"augmentation": CameraAugmentation(crop=0.0)}, "data.augmentation.crop is 0.0"),
        ({"object_limits": ObjectViewLimits(novel_position=200.0)}, "data.object_limits.novel_position is 200.0"),
        ({"scene_limits": SceneViewLimits(noisy_frames=(9, 3))}, "data.scene_limits.noisy_frames"),
    ],
)
def test_settings_that_cannot_be(numbered_store, changes, message):
    config = settings(numbered_store(), **changes)
    with pytest.raises(UserError, match=message):
        training_batches(config, process_count=2)


def test_no_condition_view_and_no_novel_view(numbered_store):
    (batch,) = take(settings(numbered_store(), condition_views=0, novel_views=0), 1)
    assert batch.inputs.images.shape[1] == 3 and batch.targets is None
    assert not batch.inputs.is_condition.any()


def test_no_thread_is_left_behind(numbered_store):
    before = set(threading.enumerate())
    batches = training_batches(settings(numbered_store(), threads=2))
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    batches.close()
    for thread in started:
        thread.join(timeout=10)
        assert not thread.is_alive()
