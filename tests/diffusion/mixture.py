"""A target whose exact denoiser is known: independent coordinates from a mixture of two Gaussians."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from diffgs_jax.diffusion import Prediction, ScheduleConfig, initial_state, make_schedule, padded, take_steps

WEIGHTS, MEANS, STD = np.array([0.3, 0.7]), np.array([-1.0, 0.6]), 0.25
COSINE, FLOW = ScheduleConfig(), ScheduleConfig("flow", shift=3.0)


def noise_level(schedule, t, dtype):
    """α and σ at the timesteps that a denoiser is told, looked up or by the definition of flow matching."""
    if schedule.betas is None:
        return 1.0 - t.astype(dtype) / 1000.0, t.astype(dtype) / 1000.0
    return jnp.asarray(schedule.alpha, dtype)[t], jnp.asarray(schedule.sigma, dtype)[t]


def gaussian_denoiser(schedule, mean, std):
    """E[x_0 | x_t] for N(mean, std²)."""

    def denoise(x, t):
        alpha, sigma = (level.reshape(t.shape + (1,) * (x.ndim - 1)) for level in noise_level(schedule, t, x.dtype))
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return Prediction(mean + gain * (x - alpha * mean), {"mean": jnp.full((), mean)})

    return denoise


def mixture_denoiser(schedule):
    """E[x_0 | x_t] for the mixture."""

    def denoise(x, t):
        alpha, sigma = (level.reshape(t.shape + (1,) * x.ndim) for level in noise_level(schedule, t, x.dtype))
        modes = (1,) * x.ndim + (-1,)
        means, weights = (jnp.asarray(values, x.dtype).reshape(modes) for values in (MEANS, WEIGHTS))
        variance = alpha**2 * STD**2 + sigma**2
        residual = x[..., None] - alpha * means
        belief = jax.nn.softmax(jnp.log(weights) - residual**2 / (2 * variance), axis=-1)
        return Prediction(jnp.sum(belief * (means + alpha * STD**2 / variance * residual), axis=-1))

    return denoise


@functools.cache
def _program(config):
    denoise = mixture_denoiser(make_schedule(config))

    @jax.jit
    def run(table, keys, x, steps):
        return take_steps(denoise, table, keys, initial_state(denoise, table, x), 0, steps).x

    return run


def run_on_mixture(config, sampler, keys, x):
    """Samples with the mixture's denoiser, by one program for all samplers of about one length."""
    return np.asarray(_program(config)(padded(sampler), keys, x, len(sampler.timesteps)))


def draws(count):
    """Samples of the mixture."""
    generator = np.random.default_rng(0)
    return generator.choice(MEANS, count, p=WEIGHTS) + STD * generator.standard_normal(count)


def assert_drawn_from_the_mixture(x0, atol=0.02):
    """Moments of 20,000 draws, to four standard errors and what finitely many steps shift."""
    right = x0 > -0.2
    np.testing.assert_allclose(right.mean(), WEIGHTS[1], atol=atol)
    np.testing.assert_allclose(x0.mean(), WEIGHTS @ MEANS, atol=2 * atol)
    for mode, chosen in [(0, ~right), (1, right)]:
        np.testing.assert_allclose(x0[chosen].mean(), MEANS[mode], atol=0.02)
        np.testing.assert_allclose(x0[chosen].std(), STD, rtol=0.06)


def ode_solution(schedule, start):
    """Integrates the probability-flow ODE in float64, from the noisiest level to the least noisy one.

    Returns the prediction there. With y = x / α and λ = log(α / σ) the ODE is dy/dλ = x̂_0 − y (Song et al. 2021,
    eq. 14); a flow schedule begins without signal, so there it is dx/ds = (x − x̂_0) / s (Lipman et al. 2023), down to
    the clean array itself.
    """

    def predict(x, alpha, sigma):
        variance = alpha**2 * STD**2 + sigma**2
        residual = x[:, None] - alpha * MEANS
        log_belief = np.log(WEIGHTS) - residual**2 / (2 * variance)
        belief = np.exp(log_belief - log_belief.max(1, keepdims=True))
        belief /= belief.sum(1, keepdims=True)
        return (belief * (MEANS + alpha * STD**2 / variance * residual)).sum(1)

    exact = {"method": "DOP853", "rtol": 1e-9, "atol": 1e-9}
    if schedule.is_flow:
        solution = solve_ivp(lambda s, x: (x - predict(x, 1.0 - s, s)) / s, (1.0, 1e-5), start, **exact)
        return predict(solution.y[:, -1], 1.0 - 1e-5, 1e-5)

    def slope(log_ratio, y):
        alpha, sigma = 1 / np.sqrt(1 + np.exp(-2 * log_ratio)), 1 / np.sqrt(1 + np.exp(2 * log_ratio))
        return predict(alpha * y, alpha, sigma) - y

    noisy, clean = schedule.log_snr[[-1, 0]] / 2
    solution = solve_ivp(slope, (noisy, clean), start / schedule.alpha[-1], **exact)
    return predict(schedule.alpha[0] * solution.y[:, -1], schedule.alpha[0], schedule.sigma[0])
