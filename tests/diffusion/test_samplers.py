"""Tables of samplers: against stored numbers, published runs, and independent loops of the papers' algorithms."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture import COSINE, FLOW

from diffgs_jax.diffusion import (
    Prediction,
    Quirks,
    ScheduleConfig,
    initial_state,
    make_sampler,
    make_schedule,
    posterior,
    respace,
    sample,
    sampler_kinds,
    sampler_step,
    starting_later,
)
from diffgs_jax.errors import UserError

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "open_diffusiongs_schedule.npz"
KINDS = [(config, kind) for config in (COSINE, FLOW) for kind in sampler_kinds(make_schedule(config))]

# (timestep, x, x0, previous x0, noise) of four steps of the cosine schedule: from the formulas of the papers, written
# down anew and evaluated with 60 digits.
TABLES = {
    ("ddpm", 0.0): [
        [999, 7.491967723658272e-05, 0.49598442960922406, 0.0, 0.9999999950634931],
        [666, 0.1970446555846715, 0.7636484820660151, 0.0, 0.8175888811900427],
        [333, 0.0001378241938959674, 0.9998606387305031, 0.0, 0.5079317018813588],
        [0, 0.0, 1.0, 0.0, 0.0],
    ],
    ("ddim", 0.5): [
        [999, 0.7519970639694562, 0.49594737299012176, 0.0, 0.4341657046306389],
        [666, 0.5161039156329942, 0.6054000557813664, 0.0, 0.23913908868871828],
        [333, 0.010954692489613355, 0.9905432094351607, 0.0, 0.0032124493576174504],
        [0, 0.0, 1.0, 0.0, 0.0],
    ],
    ("dpm", 0.0): [
        [999, 0.9250556197832798, 0.3797860873120918, 0.0, 0.0],
        [749, 0.7690853257784546, 0.4305800983219659, -0.0199630079546312, 0.0],
        [499, 0.5497763886902397, 0.797987166178428, -0.2640044217319195, 0.0],
        [249, 0.0, 1.0, 0.0, 0.0],
    ],
    ("dpm_sde", 0.0): [
        [999, 0.00011102925605533995, 0.37983167091358844, 0.0, 0.925055611996797],
        [749, 0.31970212256219904, 0.6095685236013567, -0.028261457816955243, 0.6470648609031389],
        [499, 0.23079269376841857, 1.1329771938762394, -0.37483182885909844, 0.35500321424270787],
        [249, 0.0, 1.0, 0.0, 0.0],
    ],
}


@pytest.mark.parametrize(("kind", "eta"), TABLES)
def test_tables_have_the_numbers_of_the_papers_formulas(kind, eta):
    sampler = make_sampler(make_schedule(), kind, 4, eta=eta)
    assert sampler.timesteps.dtype == np.int32
    columns = [sampler.timesteps, sampler.x, sampler.x0, sampler.previous_x0, sampler.noise]
    columns = [np.zeros(4) if column is None else column for column in columns]
    np.testing.assert_allclose(np.stack(columns, axis=1), TABLES[kind, eta], rtol=1e-10, atol=1e-12)


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


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small"])
@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
def test_every_ancestral_step_is_that_of_algorithm_2(variance, name):
    """Ho et al. 2020: x_{t−1} = (x_t − β_t / sqrt(1 − ᾱ_t) ε) / sqrt(1 − β_t) + σ_t z, with their own β."""
    first, last, power = {"linear": (1e-4, 0.02, 1), "scaled_linear": (0.00085**0.5, 0.012**0.5, 2)}[name]
    betas = np.array([(first + (last - first) * t / 999) ** power for t in range(1000)])
    sampler = make_sampler(make_schedule(ScheduleConfig(name)), "ddpm", 1000, variance=variance)
    generator = np.random.default_rng(0)
    noises = generator.standard_normal((1000, 2, 3))

    def network(x, t):
        return np.tanh(x) + np.sin(t / 100.0)

    kept = np.ones(1001)  # ᾱ of t at t + 1
    for t in range(1000):
        kept[t + 1] = kept[t] * (1.0 - betas[t])
    x = generator.standard_normal((2, 3))
    given, expected = [], []
    for t in reversed(range(1000)):
        given.append(x)
        beta, remaining, before = betas[t], kept[t + 1], kept[t]
        spread = beta if variance == "fixed_large" else (1.0 - before) / (1.0 - remaining) * beta
        noise = np.sqrt(spread) * noises[t] if t > 0 else 0.0
        x = (x - beta / np.sqrt(1.0 - remaining) * network(x, t)) / np.sqrt(1.0 - beta) + noise
        expected.append(x)

    def denoise(x, t):
        remaining = jnp.asarray(kept[1:])[t[0]]
        return Prediction((x - jnp.sqrt(1.0 - remaining) * (jnp.tanh(x) + jnp.sin(t[0] / 100.0))) / jnp.sqrt(remaining))

    def step(index, x, noise):
        return sampler_step(denoise, sampler, index, initial_state(denoise, sampler, x), noise).x

    result = jax.jit(jax.vmap(step))(jnp.arange(1000), jnp.asarray(np.stack(given)), jnp.asarray(noises[::-1]))
    np.testing.assert_allclose(result, np.stack(expected), rtol=1e-6, atol=1e-6)


def test_euler_in_either_coordinate_is_the_papers_loop():
    """Karras et al. 2022, algorithm 1 with Euler steps, in x / α; Lipman et al. 2023, dx = flow · ds."""

    def predict(x, sigma):
        return np.tanh(x) / (1.0 + sigma)

    for config, kind in [(ScheduleConfig("scaled_linear"), "edm"), (FLOW, "euler")]:
        schedule = make_schedule(config)
        sampler = make_sampler(schedule, kind, 12)
        levels = np.append(sampler.sigma / (1.0 if schedule.is_flow else sampler.alpha), 0.0)
        ours = theirs = np.random.default_rng(0).standard_normal(5)
        theirs = theirs / (1.0 if schedule.is_flow else sampler.alpha[0])
        for index in range(12):
            # Both predictors see what stands in x_t, whatever it is divided by.
            seen = theirs * (1.0 if schedule.is_flow else sampler.alpha[index])
            np.testing.assert_allclose(ours, seen, rtol=1e-9)
            x0 = predict(seen, levels[index])
            theirs = theirs + (levels[index + 1] - levels[index]) * (theirs - x0) / levels[index]
            ours = sampler.x[index] * ours + sampler.x0[index] * x0
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize(("config", "kind"), KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 30])
def test_a_known_clean_array_is_reached_exactly(config, kind, steps):
    sampler = make_sampler(make_schedule(config), kind, steps)
    assert sampler.x[-1] == 0.0 and sampler.x0[-1] == 1.0
    assert sampler.previous_x0 is None or sampler.previous_x0[0] == sampler.previous_x0[-1] == 0.0
    assert sampler.noise is None or sampler.noise[-1] == 0.0
    assert all(np.all(np.isfinite(column)) for column in sampler if column is not None)


@pytest.mark.parametrize(("config", "kind"), KINDS)
def test_a_step_keeps_the_law_of_x_where_the_clean_array_is_known(config, kind):
    # x_t = α x_0 + σ ε goes to mean α' x_0 and variance σ'², when x̂_0 is x_0 at every step.
    for settings in [{}, {"eta": 0.7}] if kind == "ddim" else [{"variance": "fixed_small"}] if kind == "ddpm" else [{}]:
        sampler = make_sampler(make_schedule(config), kind, 9, **settings)
        previous = 0.0 if sampler.previous_x0 is None else sampler.previous_x0
        noise = 0.0 if sampler.noise is None else sampler.noise
        mean = sampler.x * sampler.alpha + sampler.x0 + previous
        np.testing.assert_allclose(mean, np.append(sampler.alpha[1:], 1.0), rtol=1e-10)
        variance = (sampler.x * sampler.sigma) ** 2 + noise**2
        np.testing.assert_allclose(variance, np.append(sampler.sigma[1:], 0.0) ** 2, rtol=1e-10, atol=1e-15)


def test_full_eta_is_the_ancestral_posterior():
    schedule = make_schedule()
    exact = posterior(respace(schedule, 20))
    for kind, settings in [("ddim", {"eta": 1.0}), ("ddpm", {"variance": "fixed_small"})]:
        sampler = make_sampler(schedule, kind, 20, **settings)
        np.testing.assert_allclose(sampler.x[::-1], exact.mean_x_t, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(sampler.x0[::-1], exact.mean_x0, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(sampler.noise[::-1] ** 2, exact.variance, rtol=1e-8, atol=1e-12)
    flow = make_schedule(FLOW)
    implicit, ancestral = make_sampler(flow, "ddim", 20, eta=1.0), make_sampler(flow, "ddpm", 20)
    for name in ("x", "x0", "noise"):
        np.testing.assert_allclose(getattr(implicit, name), getattr(ancestral, name), rtol=1e-8, atol=1e-12)


def test_a_denoiser_that_is_told_truncated_timesteps_is_as_good_as_one_told_all():
    # Steps of the same size with the same network: only what it is told differs, and the network ignores that.
    schedule = make_schedule(FLOW)
    exact, told = (
        make_sampler(schedule, "dpm", 7, quirks=Quirks(starts_below_noise=True, truncated_timesteps=truncated))
        for truncated in (False, True)
    )
    np.testing.assert_array_equal(told.timesteps, np.floor(exact.timesteps))
    assert np.any(told.timesteps != exact.timesteps) and told.timesteps.dtype == np.float32

    def denoise(x, t):
        return Prediction(x - (t / 1000.0)[:, None] * jnp.sin(3.0 * x))

    start = jax.random.normal(jax.random.key(0), (4, 5))
    one, other = (sample(denoise, sampler, None, start).x0 for sampler in (exact, told))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_strength_keeps_the_last_steps():
    sampler = make_sampler(make_schedule(), "dpm", 10)
    later = starting_later(sampler, 0.35)
    np.testing.assert_array_equal(later.timesteps, sampler.timesteps[-3:])
    assert later.previous_x0[0] == 0.0 and later.start == later.sigma[0]
    # The first step is what a sampler that begins there would take.
    np.testing.assert_allclose(later.x[0] * later.alpha[0] + later.x0[0], later.alpha[1], rtol=1e-12)
    assert starting_later(sampler, 1.0) is sampler
    for strength in (0.0, 1.5, 0.05):
        with pytest.raises(UserError, match="strength"):
            starting_later(sampler, strength)


@pytest.mark.parametrize(
    ("config", "kind", "steps", "settings"),
    [
        (COSINE, "ddpm", 10, {"eta": 0.5}),
        (COSINE, "ddim", 10, {"eta": 1.5}),
        (COSINE, "ddim", 10, {"eta": -0.1}),
        (COSINE, "ddim", 0, {}),
        (COSINE, "dpm", 1001, {}),
        (COSINE, "euler", 10, {}),
        (COSINE, "ddim", 10, {"variance": "fixed_small"}),
        (COSINE, "ddpm", 10, {"quirks": Quirks(fixed_stride=True)}),
        (COSINE, "dpm", 10, {"quirks": Quirks(truncated_timesteps=True)}),
        (COSINE, "ddim", 10, {"quirks": Quirks(leading_offset=1)}),
        (COSINE, "ddim", 1000, {"spacing": "leading", "quirks": Quirks(leading_offset=1)}),
        (FLOW, "edm", 10, {}),
        (FLOW, "ddim", 10, {"quirks": Quirks(clips_x0=True)}),
        (FLOW, "euler", 10, {"quirks": Quirks(shifts_twice=True)}),
        (FLOW, "euler", 0, {}),
        (ScheduleConfig("flow"), "dpm", 1000, {"quirks": Quirks(starts_below_noise=True, truncated_timesteps=True)}),
    ],
)
def test_settings_out_of_range_are_refused(config, kind, steps, settings):
    with pytest.raises(UserError):
        make_sampler(make_schedule(config), kind, steps, **settings)
