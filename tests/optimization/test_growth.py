"""Relocation, cloning and splitting, against the papers' formulas and loops written out here."""

import math

import jax
import numpy as np
import pytest
from known import known_splat
from scipy.integrate import quad
from scipy.spatial.transform import Rotation

from diffgs_jax.optimization import (
    GradientGrowth,
    clone_and_split,
    from_gaussians,
    grow,
    initial_state,
    prune,
    relocate,
    reset_opacities,
    shared_opacity_and_scale,
)
from diffgs_jax.optimization.state import Pulls


def state_of(splat, capacity=20):
    return initial_state(*from_gaussians(splat, capacity, 0))


@pytest.mark.parametrize(("opacity", "count"), [(0.3, 2), (0.9, 2), (0.7, 3), (0.99, 7), (0.5, 40)])
def test_shared_opacity_and_scale_are_those_of_equation_9(opacity, count):
    new, factor = (
        float(values[0])
        for values in jax.jit(shared_opacity_and_scale)(np.asarray([opacity], np.float32), np.asarray([count]))
    )
    expected = 1 - (1 - opacity) ** (1 / count)
    total = sum(
        math.comb(i - 1, k) * (-1) ** k * expected ** (k + 1) / math.sqrt(k + 1)
        for i in range(1, count + 1)
        for k in range(i)
    )
    assert new == pytest.approx(expected, rel=1e-5)
    assert factor == pytest.approx(opacity / total, rel=1e-4)

    # What the equation is for: coverage along a line through the middle is what it was, there and summed.
    def together(x):
        return 1 - (1 - new * math.exp(-0.5 * (x / factor) ** 2)) ** count

    assert together(0.0) == pytest.approx(opacity, rel=1e-5)
    summed = quad(together, -12, 12, limit=200)[0]
    assert summed == pytest.approx(opacity * math.sqrt(2 * math.pi), rel=1e-4)


def test_a_lone_gaussian_stays_what_it_is():
    new, factor = shared_opacity_and_scale(np.asarray([0.4], np.float32), np.asarray([1]))
    assert float(new[0]) == np.float32(0.4) and float(factor[0]) == 1.0


def test_the_dead_move_to_the_living_and_share_with_them():
    splat = known_splat()
    opacities = splat.opacities.copy()
    opacities[[2, 5, 9]] = 0.001
    before = state_of(splat._replace(opacities=opacities))
    after = jax.jit(relocate)(before, jax.random.key(3))
    old, new = (jax.tree.map(np.asarray, state.parameters) for state in (before, after))
    assert np.asarray(after.is_used).sum() == 12
    shared: dict[int, list[int]] = {}
    for dead in (2, 5, 9):
        (source,) = (i for i in range(12) if i not in (2, 5, 9) and np.array_equal(old.means[i], new.means[dead]))
        shared.setdefault(source, []).append(dead)
    for source, copies in shared.items():
        expected = 1 - (1 - opacities[source]) ** (1 / (len(copies) + 1))
        for slot in (source, *copies):
            assert 1 / (1 + math.exp(-new.logits[slot])) == pytest.approx(expected, rel=1e-4)
            np.testing.assert_array_equal(new.log_scales[slot], new.log_scales[source])
        assert not np.asarray(after.moments.mu.means)[[source, *copies]].any()
    for slot in set(range(12)) - {2, 5, 9} - set(shared):
        np.testing.assert_array_equal(old.logits[slot], new.logits[slot])


def test_growth_adds_a_share_until_the_slots_are_used():
    state = state_of(known_splat())
    step = jax.jit(grow)
    counts = [12]
    for turn in range(4):
        state = step(state, jax.random.key(turn), 0.25)
        counts.append(int(state.is_used.sum()))
    assert counts == [12, 15, 18, 20, 20]


def test_clones_and_splits_are_those_of_a_loop():
    splat, extent = known_splat(), 1.0
    random = np.random.default_rng(0)
    scales = np.where(random.random((12, 1)) < 0.5, 0.005, 0.2) * np.ones((12, 3))
    opacities = splat.opacities.copy()
    opacities[4] = 0.003
    settings = GradientGrowth(threshold=0.5, split_above=0.01, prune_below=0.005)
    pulls = random.random(20).astype(np.float32) * 2
    for capacity in (20, 14):
        before = state_of(splat._replace(scales=scales.astype(np.float32), opacities=opacities), capacity)
        before = before._replace(pulls=Pulls(pulls[:capacity] * 3, np.full(capacity, 3.0, np.float32)))
        after = jax.jit(
            lambda state: clone_and_split(
                prune(state, settings, extent, large=False), jax.random.key(0), settings, extent
            )
        )(before)

        living = [i for i in range(12) if opacities[i] >= 0.005]
        chosen = sorted((i for i in living if pulls[i] > 0.5), key=lambda i: -pulls[i])[: capacity - len(living)]
        splits = [i for i in chosen if scales[i].max() > 0.01]
        clones = [i for i in chosen if i not in splits]
        assert splits and clones
        is_used = np.asarray(after.is_used)
        assert is_used.sum() == len(living) + len(chosen)
        assert not np.asarray(after.pulls.total).any()

        new = jax.tree.map(np.asarray, after.parameters)
        sizes = np.exp(new.log_scales)
        for i in clones:
            places = np.flatnonzero((new.means == splat.means[i]).all(axis=1) & is_used)
            assert len(places) == 2 and i in places
            np.testing.assert_allclose(sizes[places], scales[[i, i]], rtol=1e-5)
        for i in splits:
            places = np.flatnonzero((new.rotations == splat.rotations[i]).all(axis=1) & is_used)
            assert len(places) == 2
            np.testing.assert_allclose(sizes[places], scales[[i, i]] / 1.6, rtol=1e-5)
            # Both lie where the old one was likely: within four of its standard deviations, along its own axes.
            turn = Rotation.from_quat(splat.rotations[i], scalar_first=True)
            local = turn.inv().apply(new.means[places] - splat.means[i]) / scales[i]
            assert (np.abs(local) < 4).all() and (local[0] != local[1]).all()


def test_opacities_are_brought_down():
    state = reset_opacities(state_of(known_splat()))
    np.testing.assert_allclose(1 / (1 + np.exp(-np.asarray(state.parameters.logits[:12]))), 0.01, rtol=1e-5)


def test_what_is_large_is_taken_out_when_asked():
    splat = known_splat()
    state = state_of(splat)
    settings = GradientGrowth(prune_above=0.2)
    kept = np.asarray(prune(state, settings, 1.0, large=True).is_used)[:12]
    np.testing.assert_array_equal(kept, splat.scales.max(axis=1) <= 0.2)
    assert np.asarray(prune(state, settings, 1.0, large=False).is_used)[:12].all()
