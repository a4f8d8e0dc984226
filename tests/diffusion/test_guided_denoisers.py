"""Guided denoisers whose exact answer is known: data from Gaussians and a mixture of two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture import COSINE, FLOW, MEANS, STD, WEIGHTS, gaussian_denoiser, mixture_denoiser, noise_level

from diffgs_jax.diffusion import (
    Prediction,
    classifier_free_guidance,
    classifier_guidance,
    first_noise,
    initial_state,
    loss_guidance,
    make_sampler,
    make_schedule,
    padded,
    perpendicular_guidance,
    sampler_kinds,
    scale_within,
    take_steps,
)

X = jax.random.normal(jax.random.key(0), (3, 4))
KEYS = jax.random.split(jax.random.key(3), 2000)


def times(schedule, *rows):
    return jnp.asarray(schedule.timesteps[np.asarray(rows)])


def second_mode(schedule):
    """log p(y = 1 | x_t) of the mixture, every coordinate being of the second mode."""

    def log_probability(x, t):
        alpha, sigma = (level[:, None, None] for level in noise_level(schedule, t, x.dtype))
        means = jnp.asarray(MEANS, x.dtype)[None, None]
        squares = (x[..., None] - alpha * means) ** 2 / (2 * (alpha**2 * STD**2 + sigma**2))
        beliefs = jax.nn.log_softmax(jnp.log(jnp.asarray(WEIGHTS, x.dtype))[None, None] - squares, axis=-1)
        return jnp.sum(beliefs[..., 1], axis=-1)

    return log_probability


@pytest.mark.parametrize("config", [COSINE, FLOW])
def test_an_exact_classifier_makes_the_denoiser_of_its_class(config):
    schedule = make_schedule(config)
    t = times(schedule, 30, 400, 900)
    guided = classifier_guidance(mixture_denoiser(schedule), second_mode(schedule), schedule)
    expected = gaussian_denoiser(schedule, MEANS[1], STD)(X, t).x0
    np.testing.assert_allclose(jax.jit(guided)(X, t).x0, expected, atol=2e-5)


def test_where_there_is_no_signal_guidance_changes_nothing():
    schedule = make_schedule(FLOW)
    t, free = times(schedule, 999, 999, 999), mixture_denoiser(schedule)
    guided = classifier_guidance(free, lambda x, t: jnp.sum(x, axis=1), schedule, 50.0)
    np.testing.assert_array_equal(guided(X, t).x0, free(X, t).x0)


@pytest.mark.parametrize("config", [COSINE, FLOW])
def test_every_sampler_reaches_the_class_that_it_is_guided_to(config):
    schedule = make_schedule(config)
    guided = classifier_guidance(mixture_denoiser(schedule), second_mode(schedule), schedule)

    @jax.jit
    def run(table, steps):
        return take_steps(guided, table, KEYS, initial_state(guided, table, first_noise(KEYS, (1,))), 0, steps).x

    for kind in sampler_kinds(schedule):
        made = np.asarray(run(padded(make_sampler(schedule, kind, 200)), 200))
        np.testing.assert_allclose(made.mean(), MEANS[1], atol=0.03, err_msg=kind)
        np.testing.assert_allclose(made.std(), STD, rtol=0.12, err_msg=kind)
    assert run._cache_size() == 1


@pytest.mark.parametrize("config", [COSINE, FLOW])
@pytest.mark.parametrize("of_aux", [False, True])
def test_guidance_by_a_measurement_is_the_denoiser_of_the_posterior(config, of_aux):
    # x_0 ~ N(m, s²), y = x_0 + N(0, r²), both known: p(x_0 | y) is a Gaussian too.
    schedule, mean, s, r, y = make_schedule(config), 0.3, 0.5, 0.2, 1.1
    free = gaussian_denoiser(schedule, mean, s)

    def with_aux(x, t):
        x0 = free(x, t).x0
        return Prediction(x0, {"twice": 2 * x0})

    def loss(prediction):
        seen = prediction.aux["twice"] / 2 if of_aux else prediction.x0
        return 0.5 * jnp.sum((seen - y) ** 2, axis=1)

    def scale(t):  # one over r² + var(x_0 | x_t): a scale per step
        alpha, sigma = noise_level(schedule, t, jnp.float32)
        return 1 / (r**2 + s**2 * sigma**2 / (alpha**2 * s**2 + sigma**2))

    gain = s**2 / (s**2 + r**2)
    posterior = gaussian_denoiser(schedule, mean + gain * (y - mean), s * np.sqrt(1 - gain))
    t = times(schedule, 30, 400, 900)
    guided = loss_guidance(with_aux, loss, schedule, scale)
    np.testing.assert_allclose(jax.jit(guided)(X, t).x0, posterior(X, t).x0, atol=5e-5)


def test_a_step_on_the_prediction_needs_no_gradient_of_the_network():
    schedule = make_schedule()

    @jax.custom_jvp
    def opaque(x):
        return 0.5 * x

    @opaque.defjvp
    def refuse(primals, tangents):
        raise AssertionError("the network was differentiated")

    def loss(prediction):
        return 0.5 * jnp.sum((prediction.x0 - 2.0) ** 2, axis=1)

    guided = loss_guidance(lambda x, t: Prediction(opaque(x)), loss, schedule, 0.25, through="prediction")
    np.testing.assert_allclose(guided(X, times(schedule, 1, 2, 3)).x0, 0.75 * 0.5 * X + 0.25 * 2.0, rtol=1e-5)


def test_both_notations_give_the_same_samples():
    schedule = make_schedule()
    conditional, unconditional = gaussian_denoiser(schedule, 1.0, 0.4), gaussian_denoiser(schedule, 0.2, 0.6)
    sampler = make_sampler(schedule, "ddpm", 20)

    def run(scale, notation):
        guided = classifier_free_guidance(conditional, unconditional, scale, notation=notation)
        return take_steps(guided, sampler, KEYS, initial_state(guided, sampler, first_noise(KEYS, (1,))), 0, 20).x

    run = jax.jit(run, static_argnums=1)
    for weight in (0.0, 0.5, 3.0):
        np.testing.assert_allclose(run(weight, "weight"), run(1 + weight, "scale"), atol=1e-4)


def test_a_scale_may_hold_for_some_steps_and_views():
    schedule = make_schedule()
    conditional, unconditional = gaussian_denoiser(schedule, 1.0, 0.4), gaussian_denoiser(schedule, 0.2, 0.6)
    t = jnp.asarray([100, 500, 900])
    x = jax.random.normal(jax.random.key(0), (3, 2, 5))
    for scale in (3.0, jnp.asarray([1.0, 3.0])[None, :, None]):
        at = scale_within(scale, 300.0, 700.0)
        guided = classifier_free_guidance(conditional, unconditional, at)(x, t).x0
        plain, full = (classifier_free_guidance(conditional, unconditional, s)(x, t).x0 for s in (1.0, scale))
        np.testing.assert_allclose(guided[::2], plain[::2], atol=1e-6)
        np.testing.assert_allclose(guided[1], full[1], atol=1e-6)
    with pytest.raises(ValueError, match="scale"):
        classifier_free_guidance(conditional, unconditional, lambda t: jnp.ones((2, 2)))(x, t)


def test_negatives_act_at_right_angles_to_what_is_asked_for():
    random = np.random.default_rng(0)
    base, towards, away = random.normal(size=(3, 2, 3, 4)).astype(np.float32)

    def says(x0):
        return lambda x, t: Prediction(jnp.asarray(x0), "aux")

    negatives = [(says(base + away), -0.7), (says(base + 3 * towards), -5.0)]
    guided = perpendicular_guidance(says(base + towards), says(base), negatives, 2.0)
    found, aux = guided(jnp.zeros((2, 3, 4)), jnp.zeros(2))
    assert aux == "aux"
    for sample in range(2):
        p, n = towards[sample].ravel(), away[sample].ravel()
        expected = base[sample].ravel() + 2 * (p - 0.7 * (n - (n @ p) / (p @ p) * p))
        np.testing.assert_allclose(np.ravel(found[sample]), expected, atol=1e-4)
