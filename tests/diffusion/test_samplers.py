"""The samplers against the published trajectory and against targets whose exact denoiser is known."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from diffgs_jax.diffusion import (
    Prediction,
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


@functools.cache
def compiled(name="squaredcos_cap_v2"):
    """The loop with the mixture's denoiser, compiled once for all samplers of one structure and length."""
    denoise = mixture_denoiser(make_schedule(ScheduleConfig(name=name)))
    return jax.jit(lambda sampler, x, key=None: sample(denoise, sampler, x, key).x0)


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


def test_deterministic_samplers_converge_to_the_ode_with_their_order():
    with jax.enable_x64(True):
        schedule = make_schedule()
        denoise = mixture_denoiser(schedule)
        start = np.random.default_rng(0).standard_normal(256)
        expected = ode_solution(schedule, start)

        @jax.jit
        def run(sampler):
            return sample(denoise, sampler, jnp.asarray(start)[:, None]).x0[:, 0]

        def error(kind, steps, spacing=None):
            return np.sqrt(np.mean((run(make_sampler(schedule, kind, steps, spacing=spacing)) - expected) ** 2))

        ddim, dpm = ([error(kind, steps, "linspace") for steps in (20, 80, 320)] for kind in ("ddim", "dpm"))
        few = {kind: [error(kind, steps) for steps in (5, 10, 20, 40)] for kind in ("ddim", "dpm")}
    # Four times the steps: an error 4 times smaller at first order, 16 times at second.
    assert 3.0 < ddim[1] / ddim[2] < 5.5
    assert 10.0 < dpm[1] / dpm[2] < 22.0
    assert all(second < first for second, first in zip(dpm, ddim, strict=True))
    # By default the second order pays at every number of steps, small ones included.
    assert all(second < 0.75 * first for second, first in zip(few["dpm"], few["ddim"], strict=True))
    assert ddim[2] < 5e-3 and dpm[2] < 5e-4


@pytest.mark.parametrize(
    ("kind", "steps", "settings"),
    [
        ("ddpm", 250, {}),
        ("ddpm", 250, {"spacing": "trailing"}),
        ("ddim", 250, {}),
        ("ddim", 250, {"eta": 1.0}),
        ("ddim", 250, {"eta": 0.5}),
        ("dpm", 50, {}),
    ],
)
def test_samples_have_the_distribution_of_the_target(kind, steps, settings):
    schedule = make_schedule()
    noise_key, key = jax.random.split(jax.random.key(0))
    start = jax.random.normal(noise_key, (20_000, 1))
    x0 = np.asarray(compiled()(make_sampler(schedule, kind, steps, **settings), start, key))[:, 0]
    right = x0 > -0.2
    # Four standard errors of 20,000 draws, and what finitely many steps shift.
    np.testing.assert_allclose(right.mean(), WEIGHTS[1], atol=0.013 + 0.007)
    np.testing.assert_allclose(x0.mean(), WEIGHTS @ MEANS, atol=0.025 + 0.015)
    for mode, chosen in [(0, ~right), (1, right)]:
        np.testing.assert_allclose(x0[chosen].mean(), MEANS[mode], atol=0.02)
        np.testing.assert_allclose(x0[chosen].std(), STD, rtol=0.06)


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
@pytest.mark.parametrize("kind", ["ddpm", "ddim", "dpm"])
def test_other_schedules_reach_the_modes(kind, name):
    schedule = make_schedule(ScheduleConfig(name=name))
    start, key = jax.random.normal(jax.random.key(0), (20_000, 1)), jax.random.key(1)
    x0 = np.asarray(compiled(name)(make_sampler(schedule, kind, 100), start, key))
    # These two schedules end with a little signal left, which a start of pure noise lacks: looser than above.
    np.testing.assert_allclose(np.mean(x0 > -0.2), WEIGHTS[1], atol=0.06)
    np.testing.assert_allclose(np.mean(x0[x0 > -0.2]), MEANS[1], atol=0.03)


def test_deterministic_samplers_repeat_themselves_and_random_ones_follow_their_key():
    schedule = make_schedule()
    start = jax.random.normal(jax.random.key(0), (4, 3))

    def run(kind, key, **settings):
        return np.asarray(compiled()(make_sampler(schedule, kind, 8, **settings), start, key))

    one, other = jax.random.key(1), jax.random.key(2)
    for kind in ("ddim", "dpm"):
        np.testing.assert_array_equal(run(kind, one), run(kind, other))
        np.testing.assert_array_equal(run(kind, one), run(kind, None))
    for kind, settings in [("ddpm", {}), ("ddim", {"eta": 1.0})]:
        np.testing.assert_array_equal(run(kind, one, **settings), run(kind, one, **settings))
        assert np.abs(run(kind, one, **settings) - run(kind, other, **settings)).max() > 1e-3
        with pytest.raises(ValueError, match="key"):
            run(kind, None, **settings)


def test_the_last_aux_is_returned_whatever_its_tree():
    schedule = make_schedule()
    sampler = make_sampler(schedule, "dpm", 5)

    def denoise(x, t):
        aux = {"mean": x.mean(), "t": (t, None), "weak": 1.5, "flag": t > 500, "half": x.astype(jnp.bfloat16)}
        return Prediction(0.5 * x, aux)

    start = jax.random.normal(jax.random.key(0), (2, 3))
    result, path = jax.jit(lambda x: sample_trajectory(denoise, sampler, x))(start)
    assert result.aux["t"][0].tolist() == [int(sampler.timesteps[-1])] * 2 and result.aux["t"][1] is None
    assert float(result.aux["weak"]) == 1.5 and not result.aux["flag"].any()
    np.testing.assert_allclose(2 * result.x0, result.aux["half"].astype(jnp.float32), rtol=1e-2)
    np.testing.assert_array_equal(path[-1], result.x0)
    np.testing.assert_array_equal(sample(denoise, sampler, start).x0, result.x0)


def test_the_denoiser_is_compiled_once():
    loops = str(
        jax.make_jaxpr(lambda x: sample(lambda x, t: Prediction(jnp.sin(x)), make_sampler(make_schedule()), x))(
            jnp.zeros((1, 2))
        )
    )
    assert loops.count("sin ") == 1 and loops.count("scan[") == 1


@pytest.mark.parametrize("jitted", [False, True])
def test_progress_is_reported_after_every_step(jitted):
    done = []
    sampler = make_sampler(make_schedule(), "ddim", 6)

    def run(x):
        return sample(lambda x, t: Prediction(jnp.tanh(x)), sampler, x, on_step=done.append)

    jax.block_until_ready((jax.jit(run) if jitted else run)(jnp.ones((2, 2))))
    jax.effects_barrier()
    assert sorted(done) == [1, 2, 3, 4, 5, 6]
    assert all(type(count) is int for count in done)


def test_a_sampler_is_a_pytree_that_can_be_an_argument():
    schedule = make_schedule()
    start, key = jax.random.normal(jax.random.key(0), (4, 2)), jax.random.key(1)
    for kind in ("ddpm", "dpm"):
        sampler = make_sampler(schedule, kind, 12)
        expected = sample(mixture_denoiser(schedule), sampler, start, key).x0
        np.testing.assert_allclose(compiled()(sampler, start, key), expected, atol=1e-5)


def test_the_loop_keeps_the_dtype_it_starts_with():
    sampler = make_sampler(make_schedule(), "ddpm", 3)
    start = jnp.ones((2, 2))
    result = sample(lambda x, t: Prediction(x.astype(jnp.bfloat16)), sampler, start, jax.random.key(0))
    assert result.x0.dtype == jnp.float32


def test_gradients_flow_through_the_whole_loop():
    # With x̂_0 = a (a constant of the denoiser) the sample is a; with x̂_0 linear in x it is linear in x_T.
    schedule = make_schedule()
    sampler = make_sampler(schedule, "dpm", 4)

    def final(x, weight):
        return jnp.sum(sample(lambda x, t: Prediction(weight * x), sampler, x).x0)

    start = jnp.array([[0.3, -0.7]])
    gradient = jax.grad(final)(start, 0.6)
    np.testing.assert_allclose(jnp.sum(gradient * start), final(start, 0.6), rtol=1e-5)
    step = 1e-2
    numeric = (final(start, 0.6 + step) - final(start, 0.6 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(final, 1)(start, 0.6), numeric, rtol=1e-2)


@pytest.mark.parametrize(
    ("kind", "steps", "settings"),
    [
        ("ddpm", 10, {"eta": 0.5}),
        ("ddim", 10, {"eta": 1.5}),
        ("ddim", 0, {}),
        ("dpm", 1001, {}),
        ("ddim", 10, {"eta": -0.1}),
    ],
)
def test_settings_out_of_range_are_refused(kind, steps, settings):
    with pytest.raises(UserError):
        make_sampler(make_schedule(), kind, steps, **settings)
