"""The schedules against the published ones, and the identities every schedule obeys."""

import pathlib

import numpy as np
import pytest

from diffgs_jax.diffusion import ScheduleConfig, make_schedule, posterior, respace
from diffgs_jax.errors import UserError

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "open_diffusiongs_schedule.npz"


@pytest.mark.parametrize("which", ["full", "steps30", "steps10"])
def test_schedule_equals_the_published_one(which):
    golden = np.load(GOLDEN)
    schedule = make_schedule()
    if which != "full":
        schedule = respace(schedule, int(which.removeprefix("steps")))
    coefficients = posterior(schedule)
    assert np.array_equal(schedule.timesteps, golden[f"{which}/timestep_map"])
    for ours, name in [
        (schedule.betas, "betas"),
        (schedule.alphas_cumprod, "alphas_cumprod"),
        (coefficients.mean_x0, "posterior_mean_coef1"),
        (coefficients.mean_x_t, "posterior_mean_coef2"),
        (coefficients.variance, "posterior_variance"),
        (coefficients.log_variance, "posterior_log_variance_clipped"),
    ]:
        np.testing.assert_allclose(ours, golden[f"{which}/{name}"], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", ["squaredcos_cap_v2", "linear", "scaled_linear"])
def test_variance_is_preserved_and_signal_falls(name):
    schedule = make_schedule(ScheduleConfig(name=name))
    np.testing.assert_allclose(schedule.alpha**2 + schedule.sigma**2, 1.0, rtol=1e-12)
    np.testing.assert_allclose(schedule.log_snr, 2 * np.log(schedule.alpha / schedule.sigma), atol=1e-9)
    assert np.all(np.diff(schedule.log_snr) < 0)
    assert np.all((schedule.betas > 0) & (schedule.betas < 1))


@pytest.mark.parametrize(
    ("name", "first", "last", "remaining"),
    # ᾱ at the end: exp of the integral of log(1 − β), 4.04e-5 and 4.66e-3 as widely quoted for DDPM and for latent
    # diffusion.
    [("linear", 1e-4, 0.02, 4.04e-5), ("scaled_linear", 0.00085, 0.012, 4.66e-3)],
)
def test_linear_schedules_have_their_published_ends(name, first, last, remaining):
    schedule = make_schedule(ScheduleConfig(name=name))
    np.testing.assert_allclose([schedule.betas[0], schedule.betas[-1]], [first, last], rtol=1e-12)
    np.testing.assert_allclose(schedule.alphas_cumprod[-1], remaining, rtol=2e-3)


def test_linspace_rounds_as_the_published_loop_for_every_number_of_steps():
    schedule = make_schedule()
    for steps in range(2, 1001):
        position, expected = 0.0, []
        for _ in range(steps):
            expected.append(round(position))
            position += 999 / (steps - 1)
        assert respace(schedule, steps).timesteps.tolist() == expected


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 999, 1000])
def test_respacing_visits_different_timesteps_and_keeps_their_noise_level(spacing, steps):
    full = make_schedule()
    schedule = respace(full, steps, spacing)
    assert schedule.steps == steps
    assert np.all(np.diff(schedule.timesteps) > 0)
    np.testing.assert_array_equal(schedule.alphas_cumprod, full.alphas_cumprod[schedule.timesteps])
    np.testing.assert_allclose(np.cumprod(1 - schedule.betas), schedule.alphas_cumprod, atol=1e-12)
    assert schedule.timesteps[-1] == 999 or spacing == "leading"
    assert np.all(np.isfinite(posterior(schedule).log_variance))


def test_trailing_and_leading_are_as_tabulated():
    # Lin et al. 2024, table 2, for T = 1000 and S = 10 (there counted from 1).
    assert respace(make_schedule(), 10, "trailing").timesteps.tolist() == list(range(99, 1000, 100))
    assert respace(make_schedule(), 10, "leading").timesteps.tolist() == list(range(0, 1000, 100))


def test_respacing_twice_still_names_training_timesteps():
    schedule = respace(respace(make_schedule(), 100), 4)
    np.testing.assert_array_equal(schedule.alphas_cumprod, make_schedule().alphas_cumprod[schedule.timesteps])


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_is_a_straight_line(shift):
    schedule = make_schedule(ScheduleConfig("flow", shift=shift))
    np.testing.assert_allclose(schedule.alpha + schedule.sigma, 1.0, rtol=1e-15)
    np.testing.assert_allclose(schedule.timesteps, 1000.0 * schedule.sigma, rtol=1e-7)
    assert schedule.timesteps.dtype == np.float32 and schedule.sigma[-1] == 1.0
    # Esser et al. 2024, eq. 23: the shift multiplies σ / α.
    even = np.arange(1, 1000) / 1000.0
    np.testing.assert_allclose(schedule.sigma[:-1] / schedule.alpha[:-1], shift * even / (1.0 - even), rtol=1e-12)
    np.testing.assert_allclose(schedule.snr, ((1.0 - schedule.sigma) / schedule.sigma) ** 2, rtol=1e-12)
    np.testing.assert_allclose(schedule.log_snr[:-1], np.log(schedule.snr[:-1]), rtol=1e-9)
    assert schedule.betas is None and schedule.log_snr[-1] == -np.inf


def test_timesteps_of_schedules_with_betas_are_whole_numbers():
    schedule = make_schedule(ScheduleConfig("linear"))
    assert schedule.timesteps.dtype == np.int32 and schedule.timesteps.tolist() == list(range(1000))
    np.testing.assert_allclose(schedule.snr, np.exp(schedule.log_snr), rtol=1e-10)


@pytest.mark.parametrize(
    "call",
    [
        lambda: make_schedule(ScheduleConfig(steps=0)),
        lambda: make_schedule(ScheduleConfig("flow", shift=0.0)),
        lambda: make_schedule(ScheduleConfig("linear", shift=3.0)),
        lambda: respace(make_schedule(ScheduleConfig("flow")), 10),
        lambda: posterior(make_schedule(ScheduleConfig("flow"))),
        lambda: make_schedule(ScheduleConfig(name="linear", beta_start=0.5, beta_end=0.1)),
        lambda: respace(make_schedule(), 0),
        lambda: respace(make_schedule(), 1001),
    ],
)
def test_settings_out_of_range_are_refused(call):
    with pytest.raises(UserError):
        call()
