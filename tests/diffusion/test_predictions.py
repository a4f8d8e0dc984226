"""Conversions between what networks predict, and the draws made for training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.diffusion import ScheduleConfig, add_noise, from_x0, make_schedule, sample_timesteps, to_x0


@pytest.mark.parametrize("kind", ["x0", "epsilon", "v"])
@pytest.mark.parametrize("name", ["squaredcos_cap_v2", "linear", "scaled_linear"])
def test_predictions_round_trip(kind, name):
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        schedule = make_schedule(ScheduleConfig(name=name))
        t = jnp.array([0, 1, 500, 990])
        x0, noise = jax.random.normal(jax.random.key(0), (2, 4, 3, 5), jnp.float64)
        x_t = add_noise(schedule, x0, t, noise)
        output = from_x0(schedule, kind, x0, x_t, t)
        np.testing.assert_allclose(to_x0(schedule, kind, output, x_t, t), x0, atol=1e-9)
        if kind == "epsilon":
            np.testing.assert_allclose(output, noise, atol=1e-9)
        if kind == "v":
            alpha, sigma = schedule.alpha[np.asarray(t), None, None], schedule.sigma[np.asarray(t), None, None]
            np.testing.assert_allclose(output, alpha * noise - sigma * x0, atol=1e-9)


def test_added_noise_is_that_of_many_single_steps():
    # q(x_t | x_0) is the composition of q(x_s | x_{s−1}) = N(sqrt(1 − β_s) x_{s−1}, β_s): follow mean and variance.
    schedule = make_schedule()
    mean, variance = 1.0, 0.0
    for beta in schedule.betas[:301]:
        mean, variance = mean * np.sqrt(1 - beta), variance * (1 - beta) + beta
    x0, t = jnp.full((1, 200_000), 2.0), jnp.array([300])
    x_t = add_noise(schedule, x0, t, jax.random.normal(jax.random.key(1), x0.shape))
    np.testing.assert_allclose(x_t.mean(), 2.0 * mean, atol=5e-3)
    np.testing.assert_allclose(x_t.std(), np.sqrt(variance), rtol=5e-3)


def test_noise_level_is_accurate_in_float32():
    schedule = make_schedule()
    x_t = add_noise(schedule, jnp.zeros((1, 1)), jnp.array([0]), jnp.ones((1, 1)))
    np.testing.assert_allclose(x_t[0, 0], np.sqrt(schedule.betas[0]), rtol=1e-6)


def test_timesteps_may_differ_by_view_and_wrong_shapes_are_refused():
    schedule = make_schedule()
    x0, noise = jnp.ones((2, 3, 4)), jnp.zeros((2, 3, 4))
    t = jnp.array([[0, 10, 999], [5, 6, 7]])
    expected = np.broadcast_to(schedule.alpha[np.asarray(t)][..., None], (2, 3, 4))
    np.testing.assert_allclose(add_noise(schedule, x0, t, noise), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="leading axes"):
        add_noise(schedule, x0, jnp.zeros((3,), jnp.int32), noise)


@pytest.mark.parametrize("kind", ["x0", "epsilon", "v"])
def test_low_precision_stays_low_precision(kind):
    schedule, x = make_schedule(), jnp.ones((2, 3), jnp.bfloat16)
    t = jnp.array([1, 500])
    assert add_noise(schedule, x, t, x).dtype == jnp.bfloat16
    assert to_x0(schedule, kind, x, x, t).dtype == jnp.bfloat16


def test_uniform_timesteps_cover_everything_alike():
    t = np.asarray(sample_timesteps(jax.random.key(0), 200_000, 10))
    assert t.dtype == np.int32
    np.testing.assert_allclose(np.bincount(t, minlength=10) / len(t), 0.1, atol=5e-3)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_shifted_timesteps_have_the_law_of_the_shift(shift):
    # P(u' ≤ a) = P(u ≤ a / (s − (s − 1) a)), the inverse of Esser et al. 2024, eq. 23.
    t = np.asarray(sample_timesteps(jax.random.key(1), 200_000, 1000, shift=shift))
    for a in [0.1, 0.5, 0.9]:
        np.testing.assert_allclose(np.mean(t < 1000 * a), a / (shift - (shift - 1) * a), atol=5e-3)


def test_logit_normal_timesteps_have_their_median_and_spread():
    t = np.asarray(sample_timesteps(jax.random.key(2), 200_000, 1000, "logit_normal", mean=0.5, std=0.8))
    for deviations, share in [(-1.0, 0.158655), (0.0, 0.5), (1.0, 0.841345)]:
        quantile = 1000 / (1 + np.exp(-(0.5 + 0.8 * deviations)))
        np.testing.assert_allclose(np.mean(t < quantile), share, atol=5e-3)


def test_timesteps_stay_in_range_at_extreme_settings():
    t = np.asarray(sample_timesteps(jax.random.key(3), 10_000, 1000, "logit_normal", mean=20.0, std=5.0, shift=50.0))
    assert t.min() >= 0 and t.max() == 999
