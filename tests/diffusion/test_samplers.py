"""The samplers against the published trajectory and against targets whose exact denoiser is known."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from diffgs_jax.diffusion import (
    Prediction,
    SamplerState,
    ScheduleConfig,
    initial_state,
    make_sampler,
    make_schedule,
    posterior,
    respace,
    sample,
    sample_trajectory,
    sampler_step,
)
from diffgs_jax.errors import UserError

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "open_diffusiongs_schedule.npz"
WEIGHTS, MEANS, STD = np.array([0.3, 0.7]), np.array([-1.0, 0.6]), 0.25


@pytest.fixture(autouse=True)
def _no_silent_broadcasting():
    with jax.numpy_rank_promotion("raise"):
        yield


def mixture_denoiser(schedule, aux=None):
    """E[x_0 | x_t] for independent coordinates drawn from the mixture above."""

    def denoise(x, t):
        shape = t.shape + (1,) * x.ndim
        alpha = jnp.asarray(schedule.alpha, x.dtype)[t].reshape(shape)
        sigma = jnp.asarray(schedule.sigma, x.dtype)[t].reshape(shape)
        modes = (1,) * x.ndim + (-1,)
        means, weights = (jnp.asarray(values, x.dtype).reshape(modes) for values in (MEANS, WEIGHTS))
        variance = alpha**2 * STD**2 + sigma**2
        residual = x[..., None] - alpha * means
        belief = jax.nn.softmax(jnp.log(weights) - residual**2 / (2 * variance), axis=-1)
        return Prediction(jnp.sum(belief * (means + alpha * STD**2 / variance * residual), axis=-1), aux)

    return denoise


def ode_solution(schedule, start):
    """Integrates the probability-flow ODE between the schedule's ends in float64, then takes the last prediction.

    With y = x / α and λ = log(α / σ) it is dy/dλ = x̂_0 − y (Song et al. 2021, eq. 14).
    """

    def predict(x, alpha, sigma):
        variance = alpha**2 * STD**2 + sigma**2
        residual = x[:, None] - alpha * MEANS
        log_belief = np.log(WEIGHTS) - residual**2 / (2 * variance)
        belief = np.exp(log_belief - log_belief.max(1, keepdims=True))
        belief /= belief.sum(1, keepdims=True)
        return (belief * (MEANS + alpha * STD**2 / variance * residual)).sum(1)

    def slope(log_ratio, y):
        alpha, sigma = 1 / np.sqrt(1 + np.exp(-2 * log_ratio)), 1 / np.sqrt(1 + np.exp(2 * log_ratio))
        return predict(alpha * y, alpha, sigma) - y

    noisy, clean = schedule.log_snr[[-1, 0]] / 2
    alpha = schedule.alpha
    solution = solve_ivp(slope, (noisy, clean), start / alpha[-1], method="DOP853", rtol=1e-9, atol=1e-9)
    return predict(alpha[0] * solution.y[:, -1], alpha[0], schedule.sigma[0])


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-5), (jnp.float32, 1e-3)])
def test_ancestral_trajectory_equals_the_published_one(dtype, tolerance):
    golden = np.load(GOLDEN)
    with jax.enable_x64(dtype == jnp.float64):
        sampler = make_sampler(make_schedule(), "ddpm", 30)

        def denoise(x, t):
            return Prediction(0.5 + 0.25 * jnp.tanh(x))

        def advance(state, step):
            index, noise = step
            state = sampler_step(denoise, sampler, index, state, noise)
            return state, state.x

        start = initial_state(denoise, sampler, jnp.asarray(golden["traj/x_T"], dtype))
        noise = jnp.asarray(golden["traj/noise"], dtype)
        _, states = jax.jit(lambda start, noise: jax.lax.scan(advance, start, (jnp.arange(30), noise)))(start, noise)
        np.testing.assert_allclose(states, golden["traj/x"], atol=tolerance)


def test_ancestral_noise_is_the_published_variance():
    golden = np.load(GOLDEN)
    sampler = make_sampler(make_schedule(), "ddpm", 30)
    expected = np.exp(golden["traj/log_variance_fixed_large"] / 2)[::-1]
    np.testing.assert_allclose(sampler.noise[:-1], expected[:-1], rtol=1e-9)
    assert sampler.noise[-1] == 0.0


@pytest.mark.parametrize("kind", ["ddpm", "ddim", "dpm"])
@pytest.mark.parametrize("steps", [1, 2, 3, 30])
def test_a_known_clean_array_is_reached_exactly(kind, steps):
    clean = jnp.array([[0.25, -1.5], [3.0, 0.125]])
    sampler = make_sampler(make_schedule(), kind, steps)
    start, key = jax.random.normal(jax.random.key(0), (2, 2)), jax.random.key(1)
    result, path = sample_trajectory(lambda x, t: Prediction(clean), sampler, start, key)
    np.testing.assert_array_equal(result.x0, clean)
    assert path.shape == (steps, 2, 2)
    # The state after the last step is the prediction too.
    state = initial_state(lambda x, t: Prediction(clean), sampler, start)
    for index in range(steps):
        state = sampler_step(lambda x, t: Prediction(clean), sampler, index, state, jnp.ones((2, 2)))
    np.testing.assert_allclose(state.x, clean, rtol=1e-5, atol=1e-6)


def test_full_eta_is_the_ancestral_posterior():
    schedule = make_schedule()
    sampler, exact = make_sampler(schedule, "ddim", 20, eta=1.0), posterior(respace(schedule, 20))
    np.testing.assert_allclose(sampler.x[::-1], exact.mean_x_t, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(sampler.x0[::-1], exact.mean_x0, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(sampler.noise[::-1] ** 2, exact.variance, rtol=1e-8, atol=1e-12)


def test_the_denoiser_is_told_training_timesteps():
    seen = []
    sampler = make_sampler(make_schedule(), "ddim", 10)

    def denoise(x, t):
        assert t.shape == (3,) and t.dtype == jnp.int32
        jax.debug.callback(lambda t: seen.append(t.tolist()), t, ordered=True)
        return Prediction(x)

    sample(denoise, sampler, jnp.zeros((3, 2)))
    jax.effects_barrier()
    expected = np.load(GOLDEN)["steps10/timestep_map"][::-1]
    assert seen == [[t] * 3 for t in expected]


def test_ddim_on_a_gaussian_is_the_closed_form_map():
    # For N(m, c²) the ODE keeps (x − α m) / sqrt(α² c² + σ²) constant.
    with jax.enable_x64(True):
        schedule, mean, std = make_schedule(), 0.4, 0.3
        alpha, sigma = jnp.asarray(schedule.alpha), jnp.asarray(schedule.sigma)

        def denoise(x, t):
            a, s = alpha[t][:, None], sigma[t][:, None]
            return Prediction(mean + a * std**2 / (a**2 * std**2 + s**2) * (x - a * mean))

        start = jnp.linspace(-3.0, 3.0, 13)[:, None]
        spread = np.sqrt(alpha[-1] ** 2 * std**2 + sigma[-1] ** 2)
        expected = mean + std * (start - alpha[-1] * mean) / spread
        errors = {
            (kind, steps): np.abs(sample(denoise, make_sampler(schedule, kind, steps), start).x0 - expected).max()
            for kind in ("ddim", "dpm")
            for steps in (50, 1000)
        }
        # Three standard deviations from the mean of a target 0.3 wide.
        assert errors["ddim", 1000] < 5e-3
        assert errors["dpm", 1000] < 1e-3
        assert errors["dpm", 50] < errors["ddim", 50]


def test_deterministic_samplers_converge_to_the_ode():
    with jax.enable_x64(True):
        schedule = make_schedule()
        denoise = mixture_denoiser(schedule)
        start = np.random.default_rng(0).standard_normal(256)
        expected = ode_solution(schedule, start)
        errors = {
            kind: [
                float(
                    np.sqrt(
                        np.mean(
                            (sample(denoise, make_sampler(schedule, kind, steps), jnp.asarray(start)[:, None]).x0[:, 0] - expected)
                            ** 2
                        )
                    )
                )
                for steps in (10, 20, 40, 80, 160, 320)
            ]
            for kind in ("ddim", "dpm")
        }
    print(errors)
