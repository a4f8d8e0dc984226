"""Samples with any number of condition views, and samples of single views."""

import dataclasses

import numpy as np
import pytest

from diffgs_jax.data import DataConfig, open_store, training_batches, with_fixed_conditions
from diffgs_jax.data.config import ViewChoice
from diffgs_jax.data.view_selection import fixed_view
from diffgs_jax.errors import UserError
from diffgs_jax.models import Requirements


def settings(path, **more):
    return DataConfig(path=str(path), resolution=8, batch_size=4, threads=0, **more)


def take(config, count, **options):
    batches = training_batches(config, **options)
    return [next(batches) for _ in range(count)]


def view_numbers(images):
    """What `numbered_record` painted: green is 20 × view."""
    return np.rint(images[..., 0, 0, 1] * 255 / 20).astype(int)


def test_the_number_of_condition_views_is_drawn_for_each_sample(numbered_store):
    path = numbered_store()
    any_number = settings(path, fewest_condition_views=0, condition_views=3, noisy_views=1, novel_views=1)
    first, again = take(any_number, 12), take(any_number, 12)
    counts = np.concatenate([batch.inputs.is_condition.sum(axis=1) for batch in first])
    assert set(counts) == {0, 1, 2, 3}
    assert all(batch.inputs.images.shape[1] == 4 and batch.targets.images.shape[1] == 1 for batch in first)
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours.inputs.images, theirs.inputs.images)
        np.testing.assert_array_equal(ours.inputs.is_condition, theirs.inputs.is_condition)
    for batch in first:
        flags = batch.inputs.is_condition
        assert (np.sort(flags, axis=1)[:, ::-1] == flags).all()  # condition views come first
        x, y = np.moveaxis(batch.inputs.cameras.camera_to_world[:, 0, :2, 3], -1, 0)
        assert (x > 0).all() and np.abs(y).max() < 1e-6  # the first view has azimuth 0, noisy or not
    fixed = with_fixed_conditions(any_number)
    assert (fixed.fewest_condition_views, fixed.condition_views, fixed.noisy_views) == (None, 1, 3)
    assert with_fixed_conditions(fixed) == fixed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fewest_condition_views": 2}, "fewest_condition_views is 2; it must be from 0 to data.condition_views, 1"),
        ({"view_choice": ViewChoice(kind="fixed_view")}, "fixed_view gives a sample one view: set data.noisy_views 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(numbered_store, changes, message):
    with pytest.raises(UserError, match=message):
        training_batches(settings(numbered_store(), **changes))


def test_a_model_of_always_as_many_condition_views_refuses_any_number(numbered_store):
    config = settings(numbered_store(), fewest_condition_views=0)
    with pytest.raises(UserError, match="has 4 condition views in every sample"):
        training_batches(config, requirements=Requirements(makes="gaussians", condition_views=(4, 4)))


SINGLE = {"condition_views": 0, "noisy_views": 1, "novel_views": 0, "object_frame": "record"}


def test_a_record_shows_one_view_for_ever(numbered_store):
    path = numbered_store()
    store = open_store(path)
    seen = {}
    for seed in (0, 1):
        config = settings(path, view_choice=ViewChoice(kind="fixed_view"), seed=seed, **SINGLE)
        for batch in take(config, 20):
            assert batch.targets is None and batch.inputs.images.shape[1] == 1
            for record, view, pose in zip(
                batch.record, view_numbers(batch.inputs.images)[:, 0], batch.inputs.cameras.camera_to_world, strict=True
            ):
                seen.setdefault(int(record), set()).add(int(view))
                np.testing.assert_array_equal(pose[0], store[int(record)].cameras.camera_to_world[view])
    assert len(seen) == len(store) and all(len(views) == 1 for views in seen.values())
    assert {record: {fixed_view(uid, 8)} for record, uid in enumerate(store.uids)} == seen
    assert len(set().union(*seen.values())) > 3  # not the same of all


def test_random_views_are_all_seen_in_time(numbered_store):
    config = settings(numbered_store(), view_choice=ViewChoice(kind="random_view"), **SINGLE)
    views = np.concatenate([view_numbers(batch.inputs.images)[:, 0] for batch in take(config, 40)])
    assert set(views) == set(range(8))
    turned = dataclasses.replace(config, object_frame="first_view")
    (batch,) = take(turned, 1)
    assert np.abs(batch.inputs.cameras.camera_to_world[:, 0, 1, 3]).max() < 1e-6
