"""What a model asks for reaches its batches: normals, captions, classes."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from diffgs_jax.data import CameraAugmentation, DataConfig, device_batches, encode_record, open_store, training_batches
from diffgs_jax.data.labels import find_label
from diffgs_jax.data.maps import encode_normals
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import SCENE, Cameras, look_at
from diffgs_jax.models import Requirements, Text

NORMALS = Requirements(makes="nothing", maps=("normals",))
CAPTIONS = ("Oak table", "a chair with cushion", None, "TABLE lamp, rustic", "bedside table")
LENGTH = 6


def tokenize(captions):
    """Code points of the first letters; 0 is a letter's code too, so only the mask tells what is padding."""
    tokens = [[ord(letter) - ord("a") for letter in caption.lower()[:LENGTH]] for caption in captions]
    padded = [row + [0] * (LENGTH - len(row)) for row in tokens]
    return Text(np.asarray(padded, np.int32), np.asarray([[i < len(row) for i in range(LENGTH)] for row in tokens]))


def store_of(folder, records):
    write_store(folder, {"train": [(one.uid, lambda one=one: encode_record(one)) for one in records]}, {})
    return folder


@pytest.fixture
def named_store(tmp_path, numbered_record):
    records = [numbered_record(number, caption=caption, name="Shelf") for number, caption in enumerate(CAPTIONS)]
    return store_of(tmp_path / "named", records)


def settings(path, **changes):
    return dataclasses.replace(DataConfig(path=str(path), resolution=8, batch_size=5, threads=1), **changes)


def take(config, requirements, count=1, **options):
    batches = training_batches(config, requirements=requirements, **options)
    return [next(batches) for _ in range(count)]


def test_captions_come_as_the_model_s_tokens(named_store):
    for batch in take(settings(named_store), Requirements(makes="nothing", tokenize=tokenize), 2):
        expected = tokenize([CAPTIONS[record] or "" for record in batch.record])
        np.testing.assert_array_equal(batch.text.tokens, expected.tokens)
        np.testing.assert_array_equal(batch.text.mask, expected.mask)
        assert batch.text.tokens.dtype == np.int32 and batch.text.mask.dtype == bool
        assert not batch.text.mask[batch.record == 2].any() and batch.labels is None


def test_classes_come_as_their_numbers(named_store):
    labels = Requirements(makes="nothing", labels=True)
    config = settings(named_store, labels=("bedside table", "chair", "table", "shelf"))
    (batch,) = take(config, labels)
    np.testing.assert_array_equal(batch.labels, np.asarray([2, 1, 3, 2, 0])[batch.record])
    assert batch.labels.dtype == np.int32 and batch.text is None
    (batch,) = take(settings(named_store, labels=("lamp", "ash")), labels)
    np.testing.assert_array_equal(batch.labels, np.asarray([-1, -1, -1, 0, -1])[batch.record])
    with pytest.raises(UserError, match="name them with data.labels"):
        take(settings(named_store), labels)
    with pytest.raises(UserError, match="data.labels names 'a', 'a'"):
        take(settings(named_store, labels=("a", "a")), labels)


def test_classes_are_told_by_whole_words(numbered_record):
    cases = {("Tablecloth", "table"): -1, ("Table (round)", "table"): 0, ("2 x C++ box", "c++"): 0, ("", "table"): -1}
    for (caption, name), expected in cases.items():
        assert find_label(numbered_record(0, caption=caption), ["crate", name][1:]) == expected


def test_what_nobody_asked_for_is_not_there_and_changes_nothing_else(named_store):
    """Neither what a batch holds besides, nor whether a run may go on."""
    everything = Requirements(makes="nothing", maps=("depth", "normals"), tokenize=tokenize, labels=True)
    config = settings(named_store, labels=("table",))
    (plain,), (full,) = take(config, Requirements(makes="nothing")), take(config, everything)
    assert plain.text is None and plain.labels is None and plain.inputs.depths is None and plain.inputs.normals is None
    assert np.isnan(full.inputs.normals).all() and np.isnan(full.targets.depths).all()
    assert full.inputs.normals.shape == (5, 4, 8, 8, 3) and full.targets.depths.shape == (5, 2, 8, 8)
    np.testing.assert_array_equal(plain.inputs.images, full.inputs.images)
    state = json.loads(json.dumps(training_batches(config).get_state()))
    training_batches(config, requirements=everything).set_state(state)
    with pytest.raises(UserError, match="labels"):
        training_batches(dataclasses.replace(config, labels=("chair",))).set_state(state)


def test_all_of_it_travels_to_devices(named_store):
    everything = Requirements(makes="nothing", maps=("depth", "normals"), tokenize=tokenize, labels=True)
    config = settings(named_store, labels=("table",))
    (expected,) = take(config, everything)
    batches = device_batches(training_batches(config, requirements=everything))
    batch = next(batches)
    batches.close()
    assert isinstance(batch.text.tokens, jax.Array) and isinstance(batch.inputs.normals, jax.Array)
    jax.tree.map(np.testing.assert_array_equal, expected, batch)


def some_normals(views):
    """Every view's normals: one direction of its own, and a corner without any."""
    directions = np.random.default_rng(0).normal(size=(views, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    maps = np.broadcast_to(directions[:, None, None], (views, 16, 16, 3)).copy()
    maps[:, :8, :8] = np.nan
    return directions, maps


@pytest.mark.parametrize("domain", ["object", "scene"])
@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("gigabytes", [0.0, 1.0])
def test_normals_turn_with_the_world(tmp_path, numbered_record, domain, flip, gigabytes):
    """What a camera sees of a normal is the same in any world: its components along the camera's own axes."""
    directions, maps = some_normals(8)
    places = np.random.default_rng(1).normal(size=(8, 3)) + [0.0, 0.0, 1.0]
    cameras = Cameras(look_at(2.7 * places / np.linalg.norm(places, axis=1, keepdims=True)), np.full((8, 4), 0.5, "f4"))
    record = numbered_record(0, domain=domain, cameras=cameras, maps={"normals": encode_normals(maps)})
    path = store_of(tmp_path / "s", [record])
    config = settings(path, batch_size=2, cache_gigabytes=gigabytes, augmentation=CameraAugmentation(flip=flip))
    for batch in take(config, NORMALS, 3):
        normals = np.concatenate([batch.inputs.normals, batch.targets.normals], axis=1)
        poses = np.concatenate([batch.inputs.cameras.camera_to_world, batch.targets.cameras.camera_to_world], axis=1)
        images = np.concatenate([batch.inputs.images, batch.targets.images], axis=1)
        views = np.rint(images[:, :, 0, 0, 1] * 255 / 20).astype(int)
        assert normals.shape == (2, 6, 8, 8, 3) and normals.dtype == np.float32
        empty = np.isnan(normals).any(axis=-1)
        corner = np.zeros((8, 8), bool)
        corner[:4, 4:] = flip
        corner[:4, :4] |= not flip
        np.testing.assert_array_equal(empty, np.broadcast_to(corner, empty.shape))
        np.testing.assert_allclose(np.linalg.norm(normals[~empty], axis=-1), 1.0, rtol=1e-5)
        for sample in range(2):
            for view, number in enumerate(views[sample]):
                seen = cameras.camera_to_world[number, :3, :3].T @ directions[number]
                seen[0] *= -1 if flip else 1
                found = poses[sample, view, :3, :3].T @ normals[sample, view, 6, 2]
                np.testing.assert_allclose(found, seen, atol=0.01)
        assert (batch.inputs.domain == SCENE).all() == (domain == "scene")


def test_maps_that_are_not_square_are_told(tmp_path, numbered_record):
    flat = encode_normals(np.broadcast_to([0.0, 0.0, 1.0], (8, 4, 6, 3)))
    path = store_of(tmp_path / "s", [numbered_record(0, maps={"normals": flat})])
    with pytest.raises(DataError, match="its normals are 6×4"):
        take(settings(path, max_bad_records=0), NORMALS)
    take(settings(path, max_bad_records=0), Requirements(makes="nothing", maps=("depth",)))


def test_even_views_reach_the_batches(tmp_path, numbered_record):
    from diffgs_jax.data import ViewChoice
    from diffgs_jax.geometry import orbit

    path = store_of(tmp_path / "ring", [numbered_record(0, 12, cameras=orbit(np.arange(12) * 30.0))])
    config = settings(path, batch_size=4, view_choice=ViewChoice("even"))
    assert len(open_store(path)) == 1
    for batch in take(config, Requirements(makes="nothing"), 4):
        x, y, _ = np.moveaxis(batch.inputs.cameras.camera_to_world[..., :3, 3], -1, 0)
        np.testing.assert_allclose(np.degrees(np.arctan2(y, x))[:, [0, 1, 3]], [[0, 90, -90]] * 4, atol=1e-3)
        assert (x[:, 2] < -1).all() and (np.abs(y[:, 2]) < 1e-4).all()
    with pytest.raises(UserError, match="data.view_choice.steepest is 100"):
        take(settings(path, view_choice=ViewChoice("even", steepest=100.0)), NORMALS)
    state = training_batches(settings(path)).get_state()
    with pytest.raises(UserError, match="view_choice.kind 'limited' → 'even'"):
        training_batches(settings(path, view_choice=ViewChoice("even"))).set_state(state)
