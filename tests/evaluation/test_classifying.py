"""A probe against known densities, shares against tables, and faces that are counted by hand."""

import numpy as np
import pytest

from diffgs_jax.evaluation import fit_probe, janus_score, share_of


def test_a_probe_finds_the_boundary_of_two_gaussians_however_often_they_come():
    """Of N(±2, I) the best boundary is the plane in the middle, right in 97.7 % of cases on each side (Φ(2))."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [2000, 200])
    features = random.normal(size=(2200, 3))
    features[:, 0] += np.where(labels == 0, -2.0, 2.0)
    probe = fit_probe(7.0 + 5.0 * features, labels, 2)
    test = random.normal(size=(20000, 3))
    truth = np.arange(20000) % 2
    test[:, 0] += np.where(truth == 0, -2.0, 2.0)
    found = probe.predict(7.0 + 5.0 * test)
    for label in (0, 1):
        assert abs(np.mean(found[truth == label] == label) - 0.977) < 0.02
    with pytest.raises(ValueError, match="every one of 3 classes"):
        fit_probe(features, labels, 3)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Newcombe 1998, table I, method 3: the score interval without continuity correction
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_of_shares_are_the_tabulated_ones(hits, trials, low, high):
    share = share_of(np.arange(trials) < hits)
    assert share.trials == trials and share.value == pytest.approx(hits / trials)
    assert (share.low, share.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_only_views_from_behind_count_as_faces_too_many():
    azimuths = np.asarray([0.0, 30.0, 90.0, 135.0, 180.0, -170.0, 260.0, 350.0])
    called = np.asarray([True, False, True, True, False, True, True, True])
    score = janus_score(called, azimuths)
    assert score.behind[0] == pytest.approx(2 / 3) and score.behind.trials == 3
    assert score.in_front[0] == pytest.approx(2 / 3) and score.in_front.trials == 3
    assert np.isnan(janus_score(called[:1], azimuths[:1]).behind.value)
