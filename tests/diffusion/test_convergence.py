"""Samplers on targets whose exact denoiser is known: order of convergence, and the distribution that they draw from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture import (
    COSINE,
    FLOW,
    MEANS,
    WEIGHTS,
    assert_drawn_from_the_mixture,
    draws,
    gaussian_denoiser,
    ode_solution,
    run_on_mixture,
)

from diffgs_jax.diffusion import (
    ScheduleConfig,
    first_noise,
    make_sampler,
    make_schedule,
    noised,
    sample,
    starting_later,
)


@pytest.mark.parametrize(("config", "first_order"), [(COSINE, "ddim"), (FLOW, "euler")])
def test_on_a_gaussian_the_limit_is_the_closed_form_map(config, first_order):
    # For N(m, c²) the ODE keeps (x − α m) / sqrt(α² c² + σ²) constant.
    schedule, mean, std = make_schedule(config), 0.4, 0.3
    denoise = gaussian_denoiser(schedule, mean, std)
    start = np.linspace(-3.0, 3.0, 13)[:, None]
    alpha, sigma = schedule.alpha[-1], schedule.sigma[-1]
    expected = mean + std * (start - alpha * mean) / np.sqrt(alpha**2 * std**2 + sigma**2)
    run = jax.jit(lambda sampler: sample(denoise, sampler, None, jnp.asarray(start, jnp.float32)).x0)
    errors = {
        (kind, steps): np.abs(run(make_sampler(schedule, kind, steps)) - expected).max()
        for kind, steps in [(first_order, 1000), ("dpm", 1000), (first_order, 50), ("dpm", 50)]
    }
    # Three standard deviations from the mean of a target 0.3 wide.
    assert errors[first_order, 1000] < 5e-3
    assert errors["dpm", 1000] < 1e-3
    assert errors["dpm", 50] < errors[first_order, 50]


@pytest.mark.parametrize(("config", "first_order"), [(COSINE, "ddim"), (FLOW, "euler")])
def test_deterministic_samplers_converge_to_the_ode_with_their_order(config, first_order):
    schedule = make_schedule(config)
    start, keys = np.random.default_rng(0).standard_normal((256, 1)), jax.random.split(jax.random.key(0), 256)
    expected = ode_solution(schedule, start[:, 0])

    def error(kind, steps, spacing=None):
        sampler = make_sampler(schedule, kind, steps, spacing=spacing)
        result = run_on_mixture(config, sampler, keys, jnp.asarray(start, jnp.float32))[:, 0]
        return np.sqrt(np.mean((result - expected) ** 2))

    one, two = ([error(kind, steps, "linspace") for steps in (64, 256)] for kind in (first_order, "dpm"))
    # Four times the steps: an error 4 times smaller at first order, 16 times at second.
    assert 3.0 < one[0] / one[1] < 5.5
    assert 10.0 < two[0] / two[1] < 22.0
    assert one[1] < 8e-3 and two[1] < 3e-3
    # By default the second order pays at every number of steps, small ones included.
    few = {kind: [error(kind, steps) for steps in (10, 20, 40)] for kind in (first_order, "dpm")}
    assert all(second < 0.75 * first for second, first in zip(few["dpm"], few[first_order], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "kind", "settings"),
    [
        (COSINE, "ddpm", {}),
        (COSINE, "ddpm", {"spacing": "trailing"}),
        (COSINE, "ddpm", {"variance": "fixed_small"}),
        (COSINE, "ddim", {}),
        (COSINE, "ddim", {"eta": 1.0}),
        (COSINE, "ddim", {"eta": 0.5}),
        (COSINE, "dpm", {}),
        (COSINE, "dpm_sde", {}),
        (COSINE, "edm", {}),
        (FLOW, "euler", {}),
        (FLOW, "ddpm", {}),
        (FLOW, "ddim", {"eta": 0.5}),
        (FLOW, "dpm", {}),
        (FLOW, "dpm_sde", {}),
    ],
)
def test_samples_have_the_distribution_of_the_target(config, kind, settings):
    start, keys = jax.random.normal(jax.random.key(0), (20_000, 1)), jax.random.split(jax.random.key(1), 20_000)
    sampler = make_sampler(make_schedule(config), kind, 250, **settings)
    assert_drawn_from_the_mixture(run_on_mixture(config, sampler, keys, start)[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
@pytest.mark.parametrize("kind", ["ddpm", "ddim", "dpm"])
def test_other_schedules_reach_the_modes(kind, name):
    config = ScheduleConfig(name=name)
    start, keys = jax.random.normal(jax.random.key(0), (20_000, 1)), jax.random.split(jax.random.key(1), 20_000)
    x0 = run_on_mixture(config, make_sampler(make_schedule(config), kind, 100), keys, start)
    # These two schedules end with a little signal left, which a start of pure noise lacks: looser than above.
    np.testing.assert_allclose(np.mean(x0 > -0.2), WEIGHTS[1], atol=0.06)
    np.testing.assert_allclose(np.mean(x0[x0 > -0.2]), MEANS[1], atol=0.03)


@pytest.mark.parametrize(("config", "kind"), [(COSINE, "dpm_sde"), (FLOW, "dpm")])
def test_a_start_from_noised_data_keeps_its_distribution(config, kind):
    # Whatever the strength.
    sampler = starting_later(make_sampler(make_schedule(config), kind, 400), 0.6)
    keys = jax.random.split(jax.random.key(1), 20_000)
    start = noised(sampler, jnp.asarray(draws(20_000)[:, None], jnp.float32), first_noise(keys, (1,)))
    assert_drawn_from_the_mixture(run_on_mixture(config, sampler, keys, start)[:, 0])
