"""View selection is held against its definition, written out here view by view in degrees."""

import numpy as np
import pytest

from diffgs_jax.data.config import ObjectViewLimits, SceneViewLimits
from diffgs_jax.data.view_selection import NoViewsWithinLimits, ViewCounts, choose_views
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import look_at


def object_poses(random, views, wobble=0.3):
    """Cameras all around, each looking past the centre by a little."""
    directions = random.normal(size=(views, 3))
    positions = directions / np.linalg.norm(directions, axis=1, keepdims=True) * random.uniform(1.5, 4, (views, 1))
    return look_at(positions, random.normal(size=(views, 3)) * wobble)


def walk(random, frames):
    """A camera that walks and turns, as in a video of a house."""
    positions = np.cumsum(random.normal(size=(frames, 3)) * 0.1, axis=0)
    heading = np.cumsum(random.normal(size=frames) * 0.2)
    ahead = np.stack([np.cos(heading), np.sin(heading), 0.1 * random.normal(size=frames)], axis=1)
    return look_at(positions, positions + ahead)


def degrees(first, second):
    return np.degrees(np.arccos(np.clip(first @ second / np.linalg.norm(first) / np.linalg.norm(second), -1, 1)))


def position(pose):
    return np.asarray(pose[:3, 3], np.float64)


def direction(pose):
    return np.asarray(pose[:3, 2], np.float64)


def assert_object_limits(poses, chosen, counts, limits):
    condition, noisy, novel = np.split(chosen, np.cumsum(counts)[:2])
    for i in noisy:
        assert not len(condition) or any(
            degrees(position(poses[i]), position(poses[c])) <= limits.noisy_position + 1e-4
            and degrees(direction(poses[i]), direction(poses[c])) <= limits.noisy_direction + 1e-4
            for c in condition
        )
        for j in novel:
            assert degrees(position(poses[i]), position(poses[j])) <= limits.novel_position + 1e-4
    for j in novel:
        angles = [degrees(direction(poses[j]), direction(poses[c])) for c in condition]
        assert not angles or min(angles) <= limits.novel_direction + 1e-4


def assert_scene_limits(poses, chosen, counts, limits):
    condition, *parts = np.split(chosen, np.cumsum(counts)[:2])
    names = (("noisy_frames", "noisy_direction"), ("novel_frames", "novel_direction"))
    for part, (frames, turn) in zip(parts, names, strict=True):
        low, high = getattr(limits, frames) or (0, len(poses))
        for i in part:
            assert any(
                low <= abs(int(i) - int(c)) <= high
                and degrees(direction(poses[i]), direction(poses[c])) <= getattr(limits, turn) + 1e-4
                for c in condition
            )


def random_counts(random, least_condition=0):
    counts = ViewCounts(*(int(value) for value in random.integers((least_condition, 1, 0), (4, 5, 5))))
    return counts


def test_every_chosen_set_of_an_object_is_within_the_limits():
    random, satisfied = np.random.default_rng(0), 0
    for trial in range(400):
        poses = object_poses(random, int(random.integers(12, 40)))
        counts = random_counts(random)
        limits = ObjectViewLimits(*random.uniform(20, 180, 4))
        try:
            chosen = choose_views(poses, counts, limits, np.random.default_rng(trial))
        except NoViewsWithinLimits:
            continue
        satisfied += 1
        assert len(set(chosen.tolist())) == sum(counts) and chosen.min() >= 0 and chosen.max() < len(poses)
        assert_object_limits(poses, chosen, counts, limits)
        again = choose_views(poses, counts, limits, np.random.default_rng(trial))
        np.testing.assert_array_equal(chosen, again)
    assert satisfied > 250


def test_every_chosen_set_of_a_scene_is_within_the_limits():
    random, satisfied = np.random.default_rng(1), 0
    for trial in range(300):
        poses = walk(random, int(random.integers(20, 120)))
        counts = random_counts(random, least_condition=1)
        low = int(random.integers(0, 5))
        limits = SceneViewLimits(
            *random.uniform(15, 120, 2), (low, low + int(random.integers(5, 30))), (0, int(random.integers(8, 40)))
        )
        try:
            chosen = choose_views(poses, counts, limits, np.random.default_rng(trial))
        except NoViewsWithinLimits:
            continue
        satisfied += 1
        assert len(set(chosen.tolist())) == sum(counts)
        assert_scene_limits(poses, chosen, counts, limits)
    assert satisfied > 200


def test_no_limits_draw_as_runs_before_there_were_any():
    poses = object_poses(np.random.default_rng(0), 32)
    for limits in (ObjectViewLimits(), SceneViewLimits()):
        for position in range(20):
            chosen = choose_views(poses, ViewCounts(1, 3, 2), limits, np.random.default_rng([5, position]))
            expected = np.random.default_rng([5, position]).choice(32, 6, replace=False)
            np.testing.assert_array_equal(chosen, expected)


def test_limits_at_180_degrees_of_which_one_is_tighter_allow_opposite_views():
    """Angles of exactly 180° and views that look exactly the same way are not lost to rounding."""
    poses = look_at(np.asarray([[2.0, 0, 0], [-2.0, 0, 0]]))
    counts = ViewCounts(1, 1, 0)
    assert len(choose_views(poses, counts, ObjectViewLimits(novel_direction=1.0), np.random.default_rng(0))) == 2
    same = np.stack([poses[0], poses[0]])
    assert len(choose_views(same, counts, ObjectViewLimits(0.0, 0.0, 0.0, 0.0), np.random.default_rng(0))) == 2


def test_a_single_tight_group_among_many_views_is_found():
    """Six neighbours in forty views that are far from everything: random draws alone would hardly meet them."""
    random = np.random.default_rng(2)
    spread = object_poses(random, 34, wobble=0.0)
    near = look_at(np.asarray([2.0, 0, 0]) + random.normal(size=(6, 3)) * 0.02)
    poses = np.concatenate([spread, near])[random.permutation(40)]
    limits = ObjectViewLimits(4.0, 4.0, 4.0, 4.0)
    for seed in range(20):
        chosen = choose_views(poses, ViewCounts(1, 3, 2), limits, np.random.default_rng(seed))
        assert_object_limits(poses, chosen, ViewCounts(1, 3, 2), limits)


def test_every_view_gets_every_part():
    random = np.random.default_rng(3)
    poses = object_poses(random, 24)
    limits = ObjectViewLimits(noisy_position=100.0, novel_position=140.0)
    seen = np.zeros((3, 24), int)
    for seed in range(400):
        chosen = choose_views(poses, ViewCounts(1, 2, 1), limits, np.random.default_rng(seed))
        for part, views in enumerate(np.split(chosen, [1, 3])):
            seen[part, views] += 1
    assert (seen > 0).all()


def test_what_cannot_be_is_told():
    poses = look_at(np.asarray([[2.0, 0, 0], [-2.0, 0, 0], [0, 2.0, 0]]))
    with pytest.raises(NoViewsWithinLimits, match=r"no 2 of its 3 views .*noisy_position=10"):
        choose_views(poses, ViewCounts(1, 1, 0), ObjectViewLimits(noisy_position=10.0), np.random.default_rng(0))
    with pytest.raises(DataError, match="only 3 views of the 4"):
        choose_views(poses, ViewCounts(1, 2, 1), ObjectViewLimits(), np.random.default_rng(0))
