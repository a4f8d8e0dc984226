"""Objects and scenes in one run."""

import dataclasses
import json

import numpy as np
import pytest

from diffgs_jax.config import from_dict, load_config, to_dict
from diffgs_jax.data import (
    CameraAugmentation,
    DataConfig,
    SceneViewLimits,
    encode_record,
    open_store,
    to_scene_frame,
    training_batches,
)
from diffgs_jax.data.maps import encode_depth
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT, SCENE, Cameras, look_at
from diffgs_jax.models import Requirements


def a_walk(views=8):
    positions = np.asarray([[0.4 * frame, 0.1 * frame, 1.5] for frame in range(views)]) + [30.0, 20.0, 0.0]
    poses = look_at(positions, positions + [[3.0, 0.2 * frame, 0.0] for frame in range(views)])
    return Cameras(poses, np.tile(np.float32([0.9, 0.9, 0.5, 0.5]), (views, 1)))


@pytest.fixture
def scene_store(tmp_path, numbered_record):
    def make(records=3, folder="scenes", views=8):
        numbers = range(records)
        every = [numbered_record(number, views, domain="scene", cameras=a_walk(views)) for number in numbers]
        items = [(record.uid, lambda record=record: encode_record(record)) for record in every]
        write_store(tmp_path / folder, {"train": items}, {})
        return tmp_path / folder

    return make


@pytest.fixture
def mixed(numbered_store, scene_store):
    shares = ((str(numbered_store()), 3.0), (str(scene_store()), 1.0))
    return DataConfig(sources=shares, resolution=8, batch_size=4, threads=1)


def take(config, count, **options):
    batches = training_batches(config, **options)
    return [next(batches) for _ in range(count)]


def test_every_batch_follows_the_shares(mixed):
    for batch in take(mixed, 12):
        assert (batch.inputs.domain == SCENE).sum() == 1
        # Records are counted through the sources: eleven objects come first.
        np.testing.assert_array_equal(batch.record >= 11, batch.inputs.domain == SCENE)


def test_shares_that_no_batch_can_have_are_kept_in_the_long_run(mixed):
    config = dataclasses.replace(mixed, sources=((mixed.sources[0][0], 0.6), (mixed.sources[1][0], 0.4)))
    scenes = np.concatenate([batch.inputs.domain for batch in take(config, 25)]) == SCENE
    assert abs(scenes.mean() - 0.4) <= 0.01


def test_each_source_keeps_its_own_epochs(mixed):
    numbers = np.concatenate([batch.record for batch in take(mixed, 11)])
    objects, scenes = numbers[numbers < 11], numbers[numbers >= 11]
    assert (np.sort(objects.reshape(3, 11), axis=1) == np.arange(11)).all()
    assert (np.sort(scenes[:9].reshape(3, 3), axis=1) == np.arange(11, 14)).all()


def test_hosts_share_every_mixed_batch(mixed):
    whole = take(mixed, 5)
    parts = [take(mixed, 5, process_index=host, process_count=2) for host in range(2)]
    for step, batch in enumerate(whole):
        together = np.concatenate([part[step].inputs.images for part in parts])
        np.testing.assert_array_equal(batch.inputs.images, together)


def test_one_source_is_the_same_as_its_path(numbered_store):
    path = str(numbered_store())
    config = DataConfig(path=path, resolution=8, batch_size=4, threads=1)
    named = dataclasses.replace(config, path="", sources=((path, 5.0),))
    for a, b in zip(take(config, 4), take(named, 4), strict=True):
        np.testing.assert_array_equal(a.inputs.images, b.inputs.images)
        np.testing.assert_array_equal(a.record, b.record)
    training_batches(named).set_state(training_batches(config).get_state())


def test_sources_and_limits_from_the_command_line(request):
    words = ["--data.sources", "a", "3", "b", "1", "--data.scene-limits.noisy-frames", "2", "30"]
    config = load_config(request.config.rootpath / "configs" / "diffusion_gs" / "quickstart.py", words)
    assert config.data.sources == (("a", 3.0), ("b", 1.0))
    assert config.data.scene_limits == SceneViewLimits(noisy_frames=(2, 30))
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_scenes_come_in_the_scene_frame_and_opaque(scene_store):
    path = scene_store()
    config = DataConfig(path=str(path), resolution=8, batch_size=2, threads=1, background=0.0)
    store = open_store(path)
    for batch in take(config, 4):
        assert (
            (batch.inputs.domain == SCENE).all()
            and (batch.inputs.alphas == 1).all()
            and (batch.targets.alphas == 1).all()
        )
        poses = np.concatenate([batch.inputs.cameras.camera_to_world, batch.targets.cameras.camera_to_world], axis=1)
        images = np.concatenate([batch.inputs.images, batch.targets.images], axis=1)
        views = np.rint(images[:, :, 0, 0, 1] * 255 / 20).astype(int)
        for sample in range(2):
            stored = store[int(batch.record[sample])].cameras.camera_to_world[views[sample]]
            np.testing.assert_array_equal(poses[sample], to_scene_frame(stored, 4)[0])
            np.testing.assert_allclose(poses[sample, 0], np.eye(4), atol=1e-5)


def test_objects_beside_scenes_stay_in_the_object_frame(mixed):
    (batch,) = take(mixed, 1)
    x, y, _ = batch.inputs.cameras.camera_to_world[batch.inputs.domain == OBJECT][:, 0, :3, 3].T
    assert (np.abs(y) < 1e-6).all() and (x > 0).all()


def test_frames_of_a_scene_come_from_the_window(scene_store):
    path = scene_store(views=12)
    limits = SceneViewLimits(noisy_frames=(1, 3), novel_frames=(0, 4))
    config = DataConfig(path=str(path), resolution=8, batch_size=3, threads=1, noisy_views=2, novel_views=1)
    for batch in take(dataclasses.replace(config, scene_limits=limits), 10):
        images = np.concatenate([batch.inputs.images, batch.targets.images], axis=1)
        first = np.rint(images[:, :, 0, 0, 1] * 255 / 20).astype(int)
        frames = np.abs(first[:, 1:] - first[:, :1])
        assert (frames[:, :2] <= 3).all() and (frames[:, 2:] <= 4).all()


def test_records_without_views_within_the_limits_are_counted_and_replaced(tmp_path, numbered_record, caplog):
    """Scenes 1 and 2 are too short for the window; they are no bad records, so that limit does not stop the run."""
    every = [numbered_record(number, 12 if number in (0, 3) else 6, domain="scene") for number in range(4)]
    every = [record._replace(cameras=a_walk(len(record.images))) for record in every]
    write_store(tmp_path / "s", {"train": [(one.uid, lambda one=one: encode_record(one)) for one in every]}, {})
    config = DataConfig(path=str(tmp_path / "s"), resolution=8, batch_size=2, threads=1, noisy_views=2, novel_views=0)
    config = dataclasses.replace(config, scene_limits=SceneViewLimits(noisy_frames=(6, 11)), max_bad_records=0)
    batches = training_batches(config)
    numbers = np.concatenate([next(batches).record for _ in range(8)])
    assert set(numbers) == {0, 3} and (numbers == 3).sum() == 12
    assert batches.records_outside_limits == ["thing/001", "thing/002"] and batches.bad_records == []
    assert len([line for line in caplog.messages if "thing/001" in line]) == 1
    none = dataclasses.replace(config, scene_limits=SceneViewLimits(noisy_frames=(20, 30)))
    with pytest.raises(UserError, match="have no choice of views within .*widen them"):
        next(training_batches(none))


def test_the_test_split_is_plain_and_leaves_out_sources_without_one(mixed):
    changed = dataclasses.replace(mixed, augmentation=CameraAugmentation(flip=1.0), random_background=1.0)
    (expected,) = take(mixed, 1, split="test")
    (batch,) = take(changed, 1, split="test")
    assert batch.inputs.background is None and (batch.inputs.domain == OBJECT).all()
    np.testing.assert_array_equal(batch.inputs.images, expected.inputs.images)
    none = dataclasses.replace(mixed, sources=mixed.sources[1:] * 2)
    with pytest.raises(DataError, match="does not describe a test split"):
        training_batches(none, split="test")


def test_depth_comes_in_the_units_of_the_cameras(tmp_path, numbered_record, numbered_store):
    """Each view's depth is its number in metres; scenes change their unit, and the objects here have no depth."""
    metres = np.arange(1, 9, dtype=np.float32)[:, None, None] * np.ones((8, 16, 16), np.float32)
    metres[:, :8, :8] = np.nan
    record = numbered_record(0, domain="scene", cameras=a_walk(), maps={"depth": encode_depth(metres)})
    write_store(tmp_path / "deep", {"train": [(record.uid, lambda: encode_record(record))]}, {})
    config = DataConfig(sources=((str(tmp_path / "deep"), 1.0), (str(numbered_store()), 1.0)), resolution=8)
    config = dataclasses.replace(config, batch_size=4, threads=1)
    assert take(config, 1)[0].inputs.depths is None
    depth = Requirements(makes="nothing", maps=("depth",))
    for gigabytes in (0.0, 1.0):
        for batch in take(dataclasses.replace(config, cache_gigabytes=gigabytes), 3, requirements=depth):
            assert batch.inputs.normals is None
            depths = np.concatenate([batch.inputs.depths, batch.targets.depths], axis=1)
            assert depths.shape == (4, 6, 8, 8) and depths.dtype == np.float32
            is_scene = batch.inputs.domain == SCENE
            assert np.isnan(depths[~is_scene]).all() and np.isnan(depths[:, :, :4, :4]).all()
            images = np.concatenate([batch.inputs.images, batch.targets.images], axis=1)
            views = np.rint(images[:, :, 0, 0, 1] * 255 / 20).astype(int)
            for sample in np.flatnonzero(is_scene):
                _, scale = to_scene_frame(a_walk().camera_to_world[views[sample]], 4)
                np.testing.assert_allclose(depths[sample, :, 6, 6], (views[sample] + 1) * scale, rtol=1e-3)
