"""Conversions between what networks predict, and the draws made for training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.diffusion import (
    ScheduleConfig,
    add_noise,
    alpha_and_sigma,
    converted,
    from_x0,
    make_schedule,
    mode_times,
    sample_timesteps,
    to_epsilon,
    to_x0,
    training_target,
)

SCHEDULES = ["squaredcos_cap_v2", "linear", "scaled_linear", "flow"]
KINDS = ["x0", "epsilon", "v", "flow"]


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_predictions_round_trip(kind, name):
    schedule = make_schedule(ScheduleConfig(name=name))
    t = jnp.array([0, 1, 500, 990])
    x0, noise = jax.random.normal(jax.random.key(0), (2, 4, 3, 5), jnp.float64)
    alpha, sigma = schedule.alpha[np.asarray(t), None, None], schedule.sigma[np.asarray(t), None, None]
    x_t = add_noise(schedule, x0, t, noise)
    np.testing.assert_allclose(x_t, alpha * x0 + sigma * noise, atol=1e-12)
    expected = {"x0": x0, "epsilon": noise, "v": alpha * noise - sigma * x0, "flow": noise - x0}
    np.testing.assert_allclose(training_target(schedule, kind, x0, t, noise), expected[kind], atol=1e-12)
    np.testing.assert_allclose(from_x0(schedule, kind, x0, x_t, t), expected[kind], atol=1e-9)
    np.testing.assert_allclose(to_x0(schedule, kind, expected[kind], x_t, t), x0, atol=1e-9)
    np.testing.assert_allclose(to_epsilon(schedule, kind, expected[kind], x_t, t), noise, atol=1e-9)
    for other in KINDS:
        np.testing.assert_allclose(
            converted(schedule, kind, other, expected[kind], x_t, t), expected[other], atol=1e-9, err_msg=other
        )


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_float_timestep_is_what_the_network_is_told(name):
    schedule = make_schedule(ScheduleConfig(name, shift=3.0 if name == "flow" else 1.0))
    rows, like = np.array([0, 7, 300, 999]), jnp.zeros((4, 2))
    alpha, sigma = alpha_and_sigma(schedule, jnp.asarray(schedule.timesteps[rows], jnp.float32), like)
    np.testing.assert_allclose(alpha[:, 0], schedule.alpha[rows], rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(sigma[:, 0], schedule.sigma[rows], rtol=2e-6)
    # Between two steps the level lies between theirs; on a straight line it is the timestep itself.
    between = 0.5 * (schedule.timesteps[300] + schedule.timesteps[301])
    alpha, sigma = alpha_and_sigma(schedule, jnp.full((1,), between, jnp.float32), like[:1])
    assert schedule.sigma[300] < sigma[0, 0] < schedule.sigma[301]
    if name == "flow":
        np.testing.assert_allclose(sigma[0, 0], between / 1000.0, rtol=1e-6)
        assert alpha[0, 0] + sigma[0, 0] == 1.0
    else:
        np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-6)


def test_where_there_is_no_signal_velocities_still_have_a_clean_array():
    schedule = make_schedule(ScheduleConfig("flow"))
    noise, x0 = jnp.ones((1, 3)), jnp.full((1, 3), 0.25)
    for kind, output in [("flow", noise - x0), ("v", -x0)]:
        np.testing.assert_allclose(to_x0(schedule, kind, output, noise, jnp.array([1000.0])), x0, rtol=1e-6)


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["squaredcos_cap_v2", "flow"])
def test_low_precision_stays_low_precision(kind, name):
    schedule, x = make_schedule(ScheduleConfig(name)), jnp.ones((2, 3), jnp.bfloat16)
    for t in (jnp.array([1, 500]), jnp.array([1.0, 500.0])):
        assert add_noise(schedule, x, t, x).dtype == jnp.bfloat16
        assert to_x0(schedule, kind, x, x, t).dtype == jnp.bfloat16
        assert to_epsilon(schedule, kind, x, x, t).dtype == jnp.bfloat16


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


def test_mode_timesteps_have_their_law():
    # P(u' ≤ a) by the inverse of the falling function, on a fine grid.
    t = np.asarray(sample_timesteps(jax.random.key(4), 200_000, 1000, "mode", scale=1.29))
    grid = np.linspace(0.0, 1.0, 100_001)
    times = 1.0 - grid - 1.29 * (np.cos(np.pi * grid / 2) ** 2 - 1.0 + grid)
    assert times[0] == 1.0 and abs(times[-1]) < 1e-12 and np.all(np.diff(times) < 0.0)
    for a in [0.1, 0.3, 0.5, 0.8]:
        np.testing.assert_allclose(np.mean(t < 1000 * a), np.mean(times < a), atol=5e-3)
    np.testing.assert_allclose(mode_times(jnp.asarray(grid[::1000]), 0.0), 1.0 - grid[::1000], atol=1e-6)


def test_timesteps_stay_in_range_at_extreme_settings():
    t = np.asarray(sample_timesteps(jax.random.key(3), 10_000, 1000, "logit_normal", mean=20.0, std=5.0, shift=50.0))
    assert t.min() >= 0 and t.max() == 999
