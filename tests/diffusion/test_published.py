"""Schedules, samplers and conversions against numbers of DiffSplat's published code (tests/golden/README.md)."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.diffusion import (
    PUBLISHED_DIFFUSION,
    Prediction,
    SamplerState,
    add_noise,
    alpha_and_sigma,
    converted,
    initial_state,
    make_schedule,
    mode_times,
    noised,
    padded,
    sampler_from_config,
    sampler_step,
    snr,
    starting_later,
    to_x0,
    training_target,
)

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "diffsplat_schedulers.npz")
MODELS = {"sd15": "sd15", "pas": "pixart_sigma", "sd3": "sd3"}
SAMPLERS = [(model, kind) for model, name in MODELS.items() for kind in PUBLISHED_DIFFUSION[name].samplers]
OUTPUTS = {"epsilon": "epsilon", "v_prediction": "v"}


def published(model, kind, steps, eta=0.0):
    """A model's schedule and one of its samplers."""
    settings = PUBLISHED_DIFFUSION[MODELS[model]]
    config = settings.samplers[kind]
    if kind == "ddim":
        config = dataclasses.replace(config, eta=eta)
    schedule = make_schedule(settings.schedule)
    return schedule, sampler_from_config(schedule, config, steps)


def runs(model, kind):
    """Yields (name, what the network predicts, steps, eta) of every stored run of a sampler."""
    for name in GOLDEN.files:
        parts = name.split("/")
        if parts[:2] == [model, kind] and parts[-1] == "x":
            steps = next(int(part[1:]) for part in parts if part[0] == "n" and part[1:].isdigit())
            eta = next((float(part[3:]) for part in parts if part.startswith("eta")), 0.0)
            yield "/".join(parts[:-1]), OUTPUTS.get(parts[2], "flow"), steps, eta


def states(name, sampler):
    """The stored states [steps + 1, …] as x_t: those of edm are in the coordinates x / α."""
    x = GOLDEN[f"{name}/x"].astype(np.float64)
    alpha = np.append(sampler.alpha, 1.0) if "/edm/" in name else np.ones(len(x))
    return x * alpha.reshape(-1, *(1,) * (x.ndim - 1))


def noise_of(name, x):
    """The stored noise [steps, …] of a run, zeros if it has none."""
    return GOLDEN[f"{name}/noise"].astype(np.float64) if f"{name}/noise" in GOLDEN.files else np.zeros(x[1:].shape)


@pytest.mark.parametrize("model", ["sd15", "pas"])
def test_schedules_with_betas(model):
    schedule = make_schedule(PUBLISHED_DIFFUSION[MODELS[model]].schedule)
    np.testing.assert_allclose(schedule.betas, GOLDEN[f"{model}/betas"], rtol=5e-7)
    np.testing.assert_allclose(schedule.alphas_cumprod, GOLDEN[f"{model}/alphas_cumprod"], rtol=2e-6)


def test_the_flow_schedule_and_where_it_is_trained():
    schedule = make_schedule(PUBLISHED_DIFFUSION["sd3"].schedule)
    # The published tables begin with the noisiest step, ours end with it.
    np.testing.assert_allclose(schedule.timesteps[::-1], GOLDEN["sd3/train_timesteps"], rtol=3e-7)
    np.testing.assert_allclose(schedule.sigma[::-1], GOLDEN["sd3/train_sigmas"], rtol=3e-7)
    rows = schedule.steps - 1 - GOLDEN["sd3/train/index"]
    np.testing.assert_allclose(schedule.timesteps[rows], GOLDEN["sd3/train/t"], rtol=3e-7)
    np.testing.assert_allclose(schedule.sigma[rows], GOLDEN["sd3/train/sigma"], rtol=3e-7)
    mode = mode_times(jnp.asarray(GOLDEN["sd3/train/mode_uniform"]), 1.29)
    np.testing.assert_allclose(mode, GOLDEN["sd3/train/mode_u"], atol=2e-7)


@pytest.mark.parametrize(("model", "kind"), SAMPLERS)
def test_timesteps_and_noise_levels(model, kind):
    compared = 0
    for steps in (1, 2, 4, 7, 10, 15, 20, 25, 28, 30, 50):
        name = f"{model}/{'dpmsolver++' if model != 'sd3' and kind.endswith('++') else kind}/n{steps}"
        if f"{name}/timesteps" not in GOLDEN.files:
            continue
        _, sampler = published(model, kind, steps)
        np.testing.assert_allclose(sampler.timesteps, GOLDEN[f"{name}/timesteps"], rtol=2e-7, err_msg=name)
        if GOLDEN[f"{name}/timesteps"].dtype == np.int64:
            np.testing.assert_array_equal(sampler.timesteps, GOLDEN[f"{name}/timesteps"])
        if f"{name}/sigmas" in GOLDEN.files:
            ours = sampler.sigma if model == "sd3" else sampler.sigma / sampler.alpha
            # Theirs of the variance-preserving schedules come from float32 ᾱ, which is near 1 at small t.
            rtol = 1e-7 if model == "sd3" else 1e-5
            np.testing.assert_allclose(np.append(ours, 0.0), GOLDEN[f"{name}/sigmas"], rtol=rtol, err_msg=name)
        if f"{name}/init_noise_sigma" in GOLDEN.files:
            np.testing.assert_allclose(sampler.start / sampler.alpha[0], GOLDEN[f"{name}/init_noise_sigma"], rtol=1e-6)
        compared += 1
    assert compared >= 8


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize(("model", "kind"), SAMPLERS)
def test_every_step_of_every_run(model, kind):
    """Each from the stored state, with the stored outputs of the network at this step and at the one before."""
    compared = 0
    for name, prediction, steps, eta in runs(model, kind):
        schedule, sampler = published(model, kind, steps, eta)
        x, outputs = states(name, sampler), GOLDEN[f"{name}/model_out"].astype(np.float64)
        assert (sampler.noise is not None) == (f"{name}/noise" in GOLDEN.files)

        def step(index, x, output, x0, noise, schedule=schedule, sampler=sampler, prediction=prediction):
            def denoise(x, t):
                return Prediction(to_x0(schedule, prediction, output, x, t))

            return sampler_step(denoise, sampler, index, SamplerState(x, Prediction(x0)), noise)

        given = (jnp.arange(steps), jnp.asarray(x[:-1]), jnp.asarray(outputs))
        noise, nothing = jnp.asarray(noise_of(name, x)), jnp.zeros(x[1:].shape)
        x0 = jax.vmap(step)(*given, nothing, noise).prediction.x0
        before = jnp.concatenate([nothing[:1], x0[:-1]])
        # The published solvers compute in float32, and from a float32 ᾱ.
        np.testing.assert_allclose(jax.vmap(step)(*given, before, noise).x, x[1:], atol=4e-6, err_msg=name)
        compared += 1
    assert compared == (3 if model == "sd3" else {"ddim": 10, "dpmsolver++": 6, "sde-dpmsolver++": 4, "edm": 2}[kind])


@pytest.mark.parametrize("model", MODELS)
def test_whole_runs_by_one_program(model):
    """With a predictor instead of stored outputs: all samplers, numbers of steps and kinds of prediction in float32."""
    schedule = make_schedule(PUBLISHED_DIFFUSION[MODELS[model]].schedule)

    def denoise(x, t):
        told = t.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
        x0 = 0.5 * jnp.tanh(x) + 0.25 * jnp.sin(told / 150.0)
        if schedule.is_flow:  # the network only knows the noise level that it is told
            x0 = to_x0(schedule, "flow", (x - x0) / (told / 1000.0), x, t)
        return Prediction(x0)

    @jax.jit
    def run(sampler, x, noise):
        def advance(state, step):
            state = sampler_step(denoise, sampler, *step[:1], state, step[1])
            return state, state.x

        start = initial_state(denoise, sampler, x)
        return jax.lax.scan(advance, start, (jnp.arange(len(noise)), noise))[1]

    for kind in PUBLISHED_DIFFUSION[MODELS[model]].samplers:
        for name, _, steps, eta in runs(model, kind):
            _, sampler = published(model, kind, steps, eta)
            x = states(name, sampler)
            if f"{name}/x_init" in GOLDEN.files:
                np.testing.assert_allclose(sampler.start * GOLDEN[f"{name}/x_init"], x[0], rtol=1e-6, atol=1e-6)
            noise = np.zeros((64, *x.shape[1:]), np.float32)
            noise[:steps] = noise_of(name, x)
            result = run(padded(sampler), jnp.asarray(x[0], jnp.float32), noise)[:steps]
            np.testing.assert_allclose(result, x[1:], atol=2e-5, err_msg=name)
    assert run._cache_size() == 1


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("model", ["sd15", "pas"])
def test_large_predictions_are_clipped_or_not(model):
    schedule, sampler = published(model, "ddim", 20)
    assert (sampler.clipped is not None) == bool(GOLDEN[f"{model}/ddim/clip_sample"]) == (model == "pas")
    last = 1.0 if model == "pas" else schedule.alphas_cumprod[0]
    np.testing.assert_allclose(last, GOLDEN[f"{model}/ddim/final_alpha_cumprod"], rtol=1e-6)
    t, x, outputs, after = (
        GOLDEN[f"{model}/ddim_large_x0/{name}"].astype(np.float64) for name in ("t", "x", "model_out", "next")
    )
    for which, output in enumerate(outputs):

        def denoise(x, t, output=output):
            return Prediction(to_x0(schedule, "epsilon", jnp.asarray(output), x, t))

        index = int(np.flatnonzero(sampler.timesteps == t[which])[0])
        start = initial_state(denoise, sampler, jnp.asarray(x[which]))
        state = sampler_step(denoise, sampler, index, start)
        assert jnp.abs(state.prediction.x0).max() > 1.5
        np.testing.assert_allclose(state.x, after[which], atol=2e-6 * jnp.abs(state.prediction.x0).max())


@pytest.mark.parametrize("model", ["sd15", "pas"])
def test_conversions(model):
    schedule = make_schedule(PUBLISHED_DIFFUSION[MODELS[model]].schedule)
    names = ("t", "x0", "eps", "x_t", "v", "x0_from_eps", "x0_from_v", "eps_from_v")
    t, x0, noise, x_t, v, x0_from_eps, x0_from_v, eps_from_v = (jnp.asarray(GOLDEN[f"{model}/conv/{n}"]) for n in names)
    # At t = 0 their σ is made of a float32 ᾱ near 1.
    np.testing.assert_allclose(add_noise(schedule, x0, t, noise), x_t, atol=1e-5)
    np.testing.assert_allclose(training_target(schedule, "v", x0, t, noise), v, atol=1e-5)
    np.testing.assert_allclose(to_x0(schedule, "v", v, x_t, t), x0_from_v, atol=1e-5)
    np.testing.assert_allclose(converted(schedule, "v", "epsilon", v, x_t, t), eps_from_v, atol=1e-5)
    # Divided by α: the last is next to nothing but noise.
    alpha = schedule.alpha[np.asarray(t)].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(to_x0(schedule, "epsilon", noise, x_t, t) * alpha, x0_from_eps * alpha, atol=1e-5)
    np.testing.assert_allclose(converted(schedule, "epsilon", "v", noise, x_t, t) * alpha, v * alpha, atol=1e-5)


@pytest.mark.parametrize("model", ["sd15", "pas"])
def test_signal_to_noise(model):
    schedule = make_schedule(PUBLISHED_DIFFUSION[MODELS[model]].schedule)
    t, expected = GOLDEN[f"{model}/snr/t"], GOLDEN[f"{model}/snr/snr"]
    # Theirs is made of a float32 ᾱ, of which 1 − ᾱ loses digits at small t.
    assert np.all(np.abs(snr(schedule, t) / expected - 1.0) < 1e-5 + 2e-7 / schedule.sigma[t] ** 2)
    assert snr(schedule, t).dtype == jnp.float32


@pytest.mark.parametrize(
    ("model", "kind", "steps"),
    [(model, kind, 20) for model in ("sd15", "pas") for kind in ("ddim", "dpmsolver++", "edm")] + [("sd3", "flow", 28)],
)
def test_starts_from_a_noised_array(model, kind, steps):
    schedule, sampler = published(model, kind, steps)
    later = starting_later(sampler, 0.98)
    name = f"{model}/img2img/{kind}"
    np.testing.assert_allclose(later.timesteps, GOLDEN[f"{name}/timesteps"], rtol=2e-7)
    clean, noise = jnp.asarray(GOLDEN[f"{name}/z"]), jnp.asarray(GOLDEN[f"{name}/noise"])
    expected = GOLDEN[f"{name}/x"] * (later.alpha[0] if kind == "edm" else 1.0)
    np.testing.assert_allclose(noised(later, clean, noise), expected, atol=2e-6)
    # It is what training noises with, at the timestep that the network is told.
    t = jnp.full(len(clean), later.timesteps[0])
    np.testing.assert_allclose(add_noise(schedule, clean, t, noise), expected, atol=2e-6)
    np.testing.assert_allclose(alpha_and_sigma(schedule, t[:1], clean[:1])[1].ravel(), later.sigma[:1], rtol=1e-6)
    # What is kept is as it was, but that nothing went before its first step.
    np.testing.assert_array_equal(later.x, sampler.x[1:])
    np.testing.assert_array_equal(later.x0[1:], sampler.x0[2:])
    if sampler.previous_x0 is not None:
        np.testing.assert_allclose(later.x0[0], sampler.x0[1] + sampler.previous_x0[1], rtol=1e-12)
        assert later.previous_x0[0] == 0.0
