"""Score distillation against what it comes to where the data is Gaussian, or a mixture of two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture import COSINE, FLOW, MEANS, gaussian_denoiser, mixture_denoiser, noise_level

from diffgs_jax.diffusion import (
    Prediction,
    distillation_gradient,
    distillation_timesteps,
    make_schedule,
    pull,
    view_shares,
)

MEAN, S, AT = 0.3, 0.4, np.asarray([-0.8, 0.1, 1.3], np.float32)


@pytest.mark.parametrize("config", [COSINE, FLOW])
@pytest.mark.parametrize("keep_jacobian", [False, True])
@pytest.mark.parametrize("weight", ["variance", "one"])
def test_the_mean_gradient_on_a_gaussian_is_the_known_one(config, keep_jacobian, weight):
    # ε̂ = σ (x_t − α m) / (α² s² + σ²), so the mean of ε̂ − ε is σ α (x − m) / (α² s² + σ²).
    schedule = make_schedule(config)
    denoise = gaussian_denoiser(schedule, MEAN, S)
    count = 40_000

    @jax.jit
    def mean_gradient(t):
        x = jnp.broadcast_to(AT, (count, 3))
        rows = jnp.full(count, t)
        noise = jax.random.normal(jax.random.key(0), (count // 2, 3))
        noise = jnp.concatenate([noise, -noise])  # the variance is that of the second order alone
        found = distillation_gradient(
            denoise, schedule, x, rows, noise, weight=weight, keep_jacobian=keep_jacobian
        ).gradient
        return jnp.mean(found, axis=0)

    for row in (50, 300, 700):
        alpha, sigma = schedule.alpha[row], schedule.sigma[row]
        variance = alpha**2 * S**2 + sigma**2
        expected = sigma * alpha * (AT - MEAN) / variance
        expected *= sigma / variance if keep_jacobian else 1.0
        expected *= sigma**2 if weight == "variance" else 1.0
        np.testing.assert_allclose(mean_gradient(row), expected, rtol=0.01)


def test_a_baseline_that_knows_only_the_array_itself_says_the_noise():
    # The scores of a point are those of its noise: variational and plain score distillation are then the same.
    schedule = make_schedule()
    x, noise = jax.random.normal(jax.random.key(1), (2, 5, 3))
    t = jnp.asarray([20, 200, 500, 700, 950])
    prior = gaussian_denoiser(schedule, MEAN, S)
    plain = distillation_gradient(prior, schedule, x, t, noise).gradient
    of_point = distillation_gradient(prior, schedule, x, t, noise, baseline=lambda x_t, t: Prediction(x)).gradient
    np.testing.assert_allclose(of_point, plain, rtol=2e-3, atol=1e-5)
    of_prior = distillation_gradient(prior, schedule, x, t, noise, baseline=prior).gradient
    assert not of_prior.any()


@pytest.mark.parametrize("baseline", [None, (0.9, 0.2)])
def test_renderings_of_one_law_are_pulled_to_the_prior_as_their_scores_differ(baseline):
    # The mean of variational score distillation over x ~ N(m', s'²) is w σ (score' − score) of the two marginals.
    schedule, row, count = make_schedule(), 400, 40_000
    mean, std = baseline or (0.9, 0.2)
    keys = jax.random.split(jax.random.key(0))
    x = mean + std * jax.random.normal(keys[0], (count, 1))
    noise = jax.random.normal(keys[1], (count, 1))
    t = jnp.full(count, row)
    other = gaussian_denoiser(schedule, mean, std) if baseline else None
    prior = gaussian_denoiser(schedule, MEAN, S)
    found = jax.jit(lambda: distillation_gradient(prior, schedule, x, t, noise, weight="one", baseline=other))()
    alpha, sigma = schedule.alpha[row], schedule.sigma[row]
    expected = sigma * alpha * (mean - MEAN) / (alpha**2 * S**2 + sigma**2)
    np.testing.assert_allclose(np.mean(found.gradient), expected, rtol=0.02)
    # With the scores of the renderings' own law, the noise that was drawn is no part of it.
    residual = found.gradient - expected
    assert (np.std(residual) < 0.2) == (baseline is not None)


def test_a_pull_is_a_gradient_that_enters_as_it_is():
    x, gradient = jax.random.normal(jax.random.key(0), (2, 4, 3))

    def loss(x):
        return pull(jnp.tanh(x), gradient * jnp.sum(x))  # the second factor is held fixed

    expected = gradient * jnp.sum(x) / x.size * (1 - jnp.tanh(x) ** 2)
    np.testing.assert_allclose(jax.grad(loss)(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("annealing", "high"), [("random", 0.25), ("sqrt", 0.6)])
def test_descent_on_a_mixture_ends_at_its_modes(annealing, high):
    schedule = make_schedule()
    denoise = mixture_denoiser(schedule)

    @jax.jit
    def descend(key, x):
        def step(index, x):
            of_time, of_noise = jax.random.split(jax.random.fold_in(key, index))
            done = index / 3000
            t = distillation_timesteps(of_time, len(x), schedule, done, annealing=annealing, high=high)
            noise = jax.random.normal(of_noise, x.shape)
            # A falling rate, or the noise of single gradients keeps x in motion.
            return x - 0.2 * (1 - done) * distillation_gradient(denoise, schedule, x, t, noise).gradient

        return jax.lax.fori_loop(0, 3000, step, x)

    start = jnp.linspace(-2.0, 1.6, 64)[:, None]
    ends = np.asarray(descend(jax.random.key(0), start))
    nearest = np.abs(ends - MEANS).min(axis=1)
    assert np.median(nearest) < 0.05 and nearest.max() < 0.2
    # With little noise each start finds the mode on its side; from much noise all find the larger one.
    assert ends[-1, 0] > 0 and (ends[0, 0] < 0) == (annealing == "random")


def test_timesteps_follow_their_laws():
    schedule = make_schedule()
    drawn = np.asarray(distillation_timesteps(jax.random.key(0), 50_000, schedule))
    assert drawn.min() == 20 and drawn.max() == 980
    np.testing.assert_allclose(drawn.mean(), 500, atol=5)

    def at(progress, **settings):
        return int(distillation_timesteps(jax.random.key(0), 1, schedule, progress, **settings)[0])

    # DreamGaussian: round((1 − progress) · 1000), clipped to [20, 980].
    assert [at(done, annealing="linear") for done in (0.0, 0.25, 0.5, 1.0)] == [980, 750, 500, 20]
    assert [at(done, annealing="sqrt") for done in (0.0, 0.25, 1.0)] == [980, 500, 20]
    assert at(0.0, annealing="linear", low=0.1, high=0.5) == 500


def test_directions_are_shared_out_by_azimuth():
    shares = np.stack(view_shares(jnp.asarray([0.0, 45.0, 90.0, 180.0, 225.0, 270.0, 360.0, -30.0])), axis=1)
    third = 1 / 3
    expected = [
        [1, 0, 0],
        [0.5, 0.5, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0.5, 0.5],
        [0, 1, 0],
        [1, 0, 0],
        [2 * third, third, 0],
    ]
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_noise_levels_of_the_two_schedules_are_those_of_the_tests():
    for config in (COSINE, FLOW):
        schedule = make_schedule(config)
        told = jnp.asarray(schedule.timesteps)[jnp.asarray([10, 600])]
        alpha, sigma = noise_level(schedule, told, jnp.float32)
        np.testing.assert_allclose(alpha, schedule.alpha[[10, 600]], rtol=1e-5)
        np.testing.assert_allclose(sigma, schedule.sigma[[10, 600]], rtol=1e-5)
