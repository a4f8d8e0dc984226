"""Even views are held against the rule of the published loader, and against evenness written out view by view."""

import numpy as np
import pytest

from diffgs_jax.data import ObjectViewLimits, SceneViewLimits, ViewChoice, ViewCounts, choose_views, scoring_views
from diffgs_jax.data.even_views import even_sets, most_even_set
from diffgs_jax.data.view_selection import NoViewsWithinLimits
from diffgs_jax.geometry import look_at, spherical_position

EVEN = ViewChoice("even")
OFF_RING = ViewChoice("even", novel="off_ring")


def poses_at(azimuths, elevations, distances=2.0):
    azimuths = np.asarray(azimuths, float)
    elevations = np.broadcast_to(elevations, azimuths.shape)
    return look_at(spherical_position(np.radians(azimuths), np.radians(elevations), distances))


def apart(first, second):
    return abs((first - second + 180) % 360 - 180)


def gobjaverse(offset=0.0, elevations=None):
    """What a record of it holds: a ring of 24, from above, from below, a level ring of 12."""
    azimuths = [*(np.arange(24) * 15.0), 40.0, 40.0, *(np.arange(12) * 30.0)]
    ring = np.full(24, 17.0) if elevations is None else elevations
    return poses_at(np.add(azimuths, offset), [*ring, 89.9, -89.9, *np.tile([5.0, -5.0], 6)])


@pytest.mark.parametrize("elevations", [None, np.linspace(5, 30, 24)])
@pytest.mark.parametrize("offset", [0.0, 133.3])
def test_four_even_views_are_those_of_the_published_loader(offset, elevations):
    """DiffSplat: (s + 6k) mod 24 from any s of the first ring, or s + 3k in the other (here from 26 on)."""
    expected = [[(s + 6 * k) % 24 for k in range(4)] for s in range(24)]
    expected += [[26 + (s + 3 * k) % 12 for k in range(4)] for s in range(12)]
    assert even_sets(gobjaverse(offset, elevations), 4).tolist() == expected


def test_rings_turn_either_way_and_other_views_are_no_part_of_them():
    random = np.random.default_rng(0)
    for trial in range(60):
        views, step = int(random.integers(6, 37)), random.choice([-1.0, 1.0])
        count = int(random.integers(1, min(views, 8) + 1))
        ring = random.uniform(0, 360) + step * np.arange(views) * 360 / views + random.uniform(-0.02, 0.02, views)
        others = int(random.integers(0, 17))
        before = int(random.integers(0, others + 1))
        azimuths = np.insert(random.uniform(0, 360, others), before, ring)
        elevations = np.insert(random.uniform(-80, 80, others), before, np.full(views, random.uniform(0, 30)))
        poses = poses_at(azimuths, elevations)
        sets = even_sets(poses, count)
        # Random views beside the ring may chance to be in step with it; nearly always there is the ring alone.
        members = set(range(before, before + views))
        assert len(members.symmetric_difference(sets[:, 0].tolist())) <= 2, trial
        for chosen in sets:
            assert len(set(chosen.tolist())) == count
            for number, view in enumerate(chosen):
                place = azimuths[chosen[0]] + number * 360 / count
                assert apart(azimuths[view], place) <= 1.1 * 180 / views


def test_without_a_ring_the_nearest_views_are_taken_and_the_most_even_sets_kept():
    random = np.random.default_rng(1)
    for _ in range(40):
        views, count = int(random.integers(6, 33)), int(random.integers(2, 6))
        azimuths, elevations = random.uniform(0, 360, views), random.uniform(-70, 70, views)
        best = {}
        for start in range(views):
            chosen = [start]
            for number in range(1, count):
                place = azimuths[start] + number * 360 / count
                chosen.append(min(range(views), key=lambda view: apart(azimuths[view], place)))
            if len(set(chosen)) == count:
                worst = max(apart(azimuths[v], azimuths[start] + n * 360 / count) for n, v in enumerate(chosen))
                best[start] = (worst, chosen)
        found = even_sets(poses_at(azimuths, elevations), count)
        allowed = max([1.1 * 180 / views, *([min(best.values())[0]] if best else [])])
        expected = [chosen for worst, chosen in best.values() if worst <= allowed + 1e-3]
        # A view of nearly the same azimuth may stand in where it is better in elevation.
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine[0] == theirs[0]
            assert all(apart(azimuths[a], azimuths[b]) < 0.5 for a, b in zip(mine, theirs, strict=True))


def test_views_that_are_missing_from_a_ring_begin_and_join_no_set():
    poses = np.delete(gobjaverse(), [3, 30], axis=0)
    azimuths = np.degrees(np.arctan2(poses[:, 1, 3], poses[:, 0, 3]))
    sets = even_sets(poses, 4)
    assert len(sets) > 20
    for chosen in sets:
        for number, view in enumerate(chosen):
            assert apart(azimuths[view], azimuths[chosen[0]] + 90 * number) < 1e-2


def test_inputs_are_even_and_targets_random_among_all_others():
    poses = gobjaverse()
    sets = {tuple(one) for one in even_sets(poses, 4).tolist()}
    starts, targets = np.zeros(38, int), np.zeros(38, int)
    for seed in range(1500):
        chosen = choose_views(poses, ViewCounts(1, 3, 4), ObjectViewLimits(), np.random.default_rng(seed), EVEN)
        assert tuple(chosen[:4].tolist()) in sets and len(set(chosen.tolist())) == 8
        starts[chosen[0]] += 1
        targets[chosen[4:]] += 1
        if seed < 20:
            again = choose_views(poses, ViewCounts(1, 3, 4), ObjectViewLimits(), np.random.default_rng(seed), EVEN)
            np.testing.assert_array_equal(chosen, again)
    assert (targets > 0).all() and (starts[[*range(24), *range(26, 38)]] > 0).all() and not starts[24:26].any()
    # Two of three begin in the ring of 24, as published.
    assert abs(starts[:24].sum() / 1500 - 2 / 3) < 4 * np.sqrt(2 / 9 / 1500)


def rendered(seed=0):
    """What prepared stores hold: a ring of 24 views, then 16 views from anywhere."""
    random = np.random.default_rng(seed)
    azimuths = [*(np.arange(24) * 15.0), *random.uniform(0, 360, 16)]
    return poses_at(azimuths, [*np.full(24, 12.0), *random.uniform(-10, 60, 16)])


def test_targets_off_the_ring_are_the_random_views_alone():
    poses, asked = rendered(), np.zeros(40, int)
    for seed in range(200):
        chosen = choose_views(poses, ViewCounts(1, 3, 5), ObjectViewLimits(), np.random.default_rng(seed), OFF_RING)
        assert sorted((chosen[:4] - chosen[0]) % 24) == [0, 6, 12, 18] and len(set(chosen.tolist())) == 9
        asked[chosen[4:]] += 1
    assert (asked[24:] > 0).all() and not asked[:24].any()
    # There are 16 of them; who asks for more gets any.
    many = choose_views(poses, ViewCounts(1, 3, 17), ObjectViewLimits(), np.random.default_rng(0), OFF_RING)
    assert len(set(many.tolist())) == 21


def test_scores_show_the_same_even_views_and_ask_for_the_random_ones():
    for seed in range(20):
        shown, asked = scoring_views(rendered(seed), 4)
        assert shown.tolist() == [0, 6, 12, 18] and asked.tolist() == list(range(24, 40))
    shown, asked = scoring_views(gobjaverse(), 4)
    assert shown.tolist() == [0, 6, 12, 18] and asked.tolist() == [24, 25]  # from above and below: all that is no ring
    alone, rest = scoring_views(rendered()[:24], 4)
    assert alone.tolist() == [0, 6, 12, 18] and sorted([*alone, *rest]) == list(range(24))
    scattered = rendered()[24:]
    shown, asked = scoring_views(scattered, 4)
    assert sorted([*shown, *asked]) == list(range(16))
    with pytest.raises(NoViewsWithinLimits, match="none is left"):
        scoring_views(rendered()[[0, 6, 12, 18]], 4)


def test_too_few_views_around_are_told():
    poses = poses_at([0.0, 90.0, 180.0, 0.0, 0.0], [10.0, 10.0, 10.0, 85.0, -85.0])
    with pytest.raises(NoViewsWithinLimits, match="5 views have no 4 of different azimuth"):
        choose_views(poses, ViewCounts(1, 3, 0), ObjectViewLimits(), np.random.default_rng(0), EVEN)
    with pytest.raises(NoViewsWithinLimits):
        choose_views(poses_at([10.0] * 6, 0.0), ViewCounts(1, 3, 0), ObjectViewLimits(), np.random.default_rng(0), EVEN)
    assert len(even_sets(poses, 4, steepest=90.0)) == 0 and len(even_sets(poses, 3)) > 0


def test_random_views_care_for_no_limits_and_scenes_for_no_rings():
    poses = gobjaverse()
    tight, counts = ObjectViewLimits(1.0, 1.0, 1.0, 1.0), ViewCounts(1, 3, 2)
    frames = SceneViewLimits(noisy_frames=(1, 4))
    for seed in range(10):
        chosen = choose_views(poses, counts, tight, np.random.default_rng(seed), ViewChoice("random"))
        np.testing.assert_array_equal(chosen, np.random.default_rng(seed).choice(38, 6, replace=False))
        np.testing.assert_array_equal(
            choose_views(poses, counts, frames, np.random.default_rng(seed), EVEN),
            choose_views(poses, counts, frames, np.random.default_rng(seed)),
        )


def test_the_most_even_set_is_level():
    level = poses_at([0, 90, 180, 270, 20, 110, 200, 290], [5.0, 9.0, 5.0, 5.0] + [18.0] * 4)
    assert most_even_set(level, 4).tolist() == [4, 5, 6, 7]
    uneven = poses_at([0, 80, 185, 275, 45, 93, 182], 10.0)
    assert most_even_set(uneven, 4).tolist() == [5, 6, 3, 0]
    assert not len(most_even_set(poses_at([0, 10, 20], 10.0), 4))
