"""The equations of docs/diffusion.md that no other file of this folder holds; the page names the tests of the rest."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture import COSINE, FLOW, MEANS, STD, WEIGHTS, mixture_denoiser, noise_level

from diffgs_jax.diffusion import (
    ScheduleConfig,
    elbo_weights,
    make_sampler,
    make_schedule,
    posterior,
    to_score,
)
from diffgs_jax.errors import UserError
from diffgs_jax.models.layers import fourier_embedding, sinusoidal_embedding

ROOT = pathlib.Path(__file__).parents[2]
LINEAR = ScheduleConfig("linear", steps=200, beta_end=0.05)


def gaussian_divergence(mean, variance, other_mean, other_variance):
    """KL(N(mean, variance) ‖ N(other_mean, other_variance)) of one coordinate."""
    return 0.5 * (np.log(other_variance / variance) + (variance + (mean - other_mean) ** 2) / other_variance - 1)


@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small"])
def test_the_bound_is_a_weighted_error_of_the_noise(variance):
    schedule = make_schedule(LINEAR)
    weights, past = elbo_weights(schedule, variance), posterior(schedule)
    random = np.random.default_rng(0)
    for t in (1, 20, 199):
        signal, beta = schedule.alphas_cumprod[t], schedule.betas[t]
        x0, noise, told = random.normal(size=3)
        x_t = np.sqrt(signal) * x0 + np.sqrt(1 - signal) * noise
        sigma2 = beta if variance == "fixed_large" else past.variance[t]
        # Algorithm 2's mean, from the noise that was told.
        mean = (x_t - beta / np.sqrt(1 - signal) * told) / np.sqrt(1 - beta)
        exact = past.mean_x0[t] * x0 + past.mean_x_t[t] * x_t
        wrong, right = (gaussian_divergence(exact, past.variance[t], m, sigma2) for m in (mean, exact))
        np.testing.assert_allclose(wrong - right, weights[t] * (noise - told) ** 2, rtol=1e-8)
    with pytest.raises(UserError, match="no betas"):
        elbo_weights(make_schedule(FLOW))


def test_the_two_variances_differ_where_little_noise_is_left():
    past, betas = posterior(make_schedule(LINEAR)), make_schedule(LINEAR).betas
    ratio = past.variance / betas
    assert ratio[0] == 0 and (np.diff(ratio) > 0).all() and ratio[-1] > 0.99


@pytest.mark.parametrize("kind", ["ddpm", "dpm_sde"])
def test_the_last_step_adds_no_noise(kind):
    sampler = make_sampler(make_schedule(), kind, 12)
    assert sampler.noise[-1] == 0 and (sampler.noise[:-1] > 0).all()


@pytest.mark.parametrize("config", [COSINE, FLOW])
def test_the_score_is_that_of_the_noisy_density(config):
    schedule = make_schedule(config)
    denoise = mixture_denoiser(schedule)

    def log_density(x, t):
        alpha, sigma = noise_level(schedule, t, x.dtype)
        variance = (alpha**2 * STD**2 + sigma**2)[0]
        means = jnp.asarray(alpha[0] * MEANS)
        return jax.scipy.special.logsumexp(jnp.log(WEIGHTS) - (x - means) ** 2 / (2 * variance))

    for row in (30, 500, 950):
        t = jnp.asarray(schedule.timesteps[row : row + 1])
        x = jnp.linspace(-2.0, 2.0, 9)
        expected = jax.vmap(jax.grad(lambda one, t=t: log_density(one, t)))(x)
        at = jnp.repeat(t, 9)
        found = to_score(schedule, denoise(x[:, None], at).x0, x[:, None], at)[:, 0]
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_embeddings_tell_times_by_their_distance():
    # Sinusoids: cos Σ of geometric frequencies; random ones: a Gaussian of the distance.
    times, size = np.asarray([3.0, 11.5, 250.0, 900.0]), 8
    frequencies = 10_000.0 ** (-np.arange(size // 2) / (size // 2))
    expected = np.concatenate([np.cos(times[:, None] * frequencies), np.sin(times[:, None] * frequencies)], axis=1)
    np.testing.assert_allclose(sinusoidal_embedding(times, size), expected, atol=1e-4)
    features = np.asarray(fourier_embedding(np.asarray([500.0, 505.0, 520.0, 800.0]), 40_000))
    products = features @ features[0] / 20_000
    distances = np.asarray([0.0, 5.0, 20.0, 300.0]) / 1000
    np.testing.assert_allclose(products, np.exp(-2 * (np.pi * 16.0 * distances) ** 2), atol=0.03)


def test_the_page_names_functions_and_tests_that_there_are():
    text = (ROOT / "docs" / "diffusion.md").read_text()
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) >= 15 and named <= tests, named - tests
    code = "\n".join(path.read_text() for path in (ROOT / "diffgs_jax").rglob("*.py"))
    functions = set(re.findall(r"`(\w+)\(\)`", text))
    assert len(functions) >= 15
    assert not [name for name in functions if not re.search(rf"def {name}\(", code)]
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (ROOT / "docs" / picture).stat().st_size < 200_000
