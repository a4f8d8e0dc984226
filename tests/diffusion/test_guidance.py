"""Guidance, and gradients taken through denoisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture import gaussian_denoiser

from diffgs_jax.diffusion import (
    Prediction,
    add_noise,
    classifier_free_guidance,
    from_x0,
    make_sampler,
    make_schedule,
    sample,
    to_x0,
)


def test_scales_zero_and_one_are_the_two_denoisers_and_aux_is_the_conditional_one():
    schedule = make_schedule()
    conditional, unconditional = gaussian_denoiser(schedule, 1.0, 0.5), gaussian_denoiser(schedule, 0.0, 1.0)
    x, t = jax.random.normal(jax.random.key(0), (2, 3, 4)), jnp.array([400, 400])
    for scale, expected in [(1.0, conditional), (0.0, unconditional)]:
        guided = classifier_free_guidance(conditional, unconditional, scale)(x, t)
        np.testing.assert_allclose(guided.x0, expected(x, t).x0, atol=1e-6)
        assert guided.aux["mean"] == 1.0


def test_guidance_of_x0_is_guidance_of_the_noise():
    # Ho & Salimans 2022, eq. 6: ε̃ = (1 + w) ε_c − w ε_u.
    schedule = make_schedule()
    conditional, unconditional = gaussian_denoiser(schedule, 1.0, 0.5), gaussian_denoiser(schedule, 0.0, 1.0)
    x, t, weight = jax.random.normal(jax.random.key(0), (2, 6)), jnp.array([300, 700]), 2.5
    noises = [from_x0(schedule, "epsilon", denoise(x, t).x0, x, t) for denoise in (conditional, unconditional)]
    expected = to_x0(schedule, "epsilon", (1 + weight) * noises[0] - weight * noises[1], x, t)
    guided = classifier_free_guidance(conditional, unconditional, 1 + weight)(x, t)
    np.testing.assert_allclose(guided.x0, expected, atol=1e-4)


def test_a_scale_per_view():
    schedule = make_schedule()
    conditional, unconditional = gaussian_denoiser(schedule, 1.0, 0.5), gaussian_denoiser(schedule, 0.0, 1.0)
    scale = jnp.array([0.0, 1.0, 4.0])
    x, t = jax.random.normal(jax.random.key(0), (2, 3, 5, 5, 1)), jnp.array([100, 900])
    guided = classifier_free_guidance(conditional, unconditional, scale.reshape(1, 3, 1, 1, 1))(x, t).x0
    for view in range(3):
        alone = classifier_free_guidance(conditional, unconditional, float(scale[view]))(x, t).x0
        np.testing.assert_allclose(guided[:, view], alone[:, view], atol=1e-6)
    with pytest.raises(ValueError, match="scale"):
        classifier_free_guidance(conditional, unconditional, scale)(x, t)


def test_guided_sampling_reaches_the_sharpened_gaussian():
    # The scores of two Gaussians of one width add up to that of N(m_u + w (m_c − m_u), width²) at every noise level.
    schedule = make_schedule()
    conditional, unconditional = gaussian_denoiser(schedule, 1.0, 0.5), gaussian_denoiser(schedule, 0.2, 0.5)
    guided = classifier_free_guidance(conditional, unconditional, 3.0)
    start = jax.random.normal(jax.random.key(0), (20_000, 1))
    x0 = np.asarray(sample(guided, make_sampler(schedule, "dpm", 60), None, start).x0)
    np.testing.assert_allclose(x0.mean(), 0.2 + 3.0 * 0.8, atol=0.03)
    np.testing.assert_allclose(x0.std(), 0.5, atol=0.02)


def test_gradient_of_a_loss_on_x0_with_respect_to_x_t():
    # View guidance: ∇ ½ ‖x̂_0(x_t) − y‖² is gain · (x̂_0 − y), with the gain that the denoiser has in closed form.
    schedule, mean, std = make_schedule(), 0.3, 0.5
    denoise = gaussian_denoiser(schedule, mean, std)
    x0, noise = jax.random.normal(jax.random.key(1), (2, 4, 3, 8))
    t, wanted = jnp.array([0, 200, 600, 999]), jnp.ones((4, 3, 8))
    x_t = add_noise(schedule, x0, t, noise)

    def loss(x):
        return 0.5 * jnp.sum((denoise(x, t).x0 - wanted) ** 2)

    alpha, sigma = schedule.alpha[np.asarray(t)], schedule.sigma[np.asarray(t)]
    gain = (alpha * std**2 / (alpha**2 * std**2 + sigma**2))[:, None, None]
    np.testing.assert_allclose(jax.grad(loss)(x_t), gain * (denoise(x_t, t).x0 - wanted), rtol=1e-4, atol=1e-6)


def test_a_denoiser_that_takes_gradients_runs_inside_the_loop():
    # Reconstruction guidance (Ho et al. 2022, "Video diffusion models", eq. 7) towards an observed first coordinate.
    schedule = make_schedule()
    denoise = gaussian_denoiser(schedule, 0.0, 1.0)

    def guided(x, t):
        def mismatch(x):
            prediction = denoise(x, t)
            return jnp.sum((prediction.x0[:, 0] - 2.0) ** 2), prediction

        gradient, prediction = jax.grad(mismatch, has_aux=True)(x)
        return Prediction(prediction.x0 - gradient, prediction.aux)

    start, sampler = jax.random.normal(jax.random.key(0), (500, 2)), make_sampler(schedule, "ddim", 50)
    free, pulled = (jax.jit(lambda x, d=d: sample(d, sampler, None, x).x0)(start) for d in (denoise, guided))
    assert jnp.mean(jnp.abs(pulled[:, 0] - 2.0)) < 0.5 * jnp.mean(jnp.abs(free[:, 0] - 2.0))
    np.testing.assert_allclose(pulled[:, 1], free[:, 1], atol=1e-5)
