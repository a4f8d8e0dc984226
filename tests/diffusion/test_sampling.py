"""The sampling loop: its law of noise, that one program serves all, and gradients through it."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture import COSINE, FLOW, mixture_denoiser

from diffgs_jax.diffusion import (
    Prediction,
    first_noise,
    initial_state,
    make_sampler,
    make_schedule,
    padded,
    sample,
    sample_trajectory,
    sampler_step,
    step_noise,
    take_steps,
)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "open_diffusiongs_schedule.npz"
KEYS = jax.random.split(jax.random.key(7), 4)


def test_a_key_is_split_into_the_start_and_the_steps():
    for key, start, step in zip(KEYS, first_noise(KEYS, (2, 3)), step_noise(KEYS, 5, (2, 3)), strict=True):
        start_key, step_key = jax.random.split(key)
        np.testing.assert_array_equal(start, jax.random.normal(start_key, (2, 3)))
        np.testing.assert_array_equal(step, jax.random.normal(jax.random.fold_in(step_key, 5), (2, 3)))
        # As a batch of one would be drawn at once.
        np.testing.assert_array_equal(start[None], jax.random.normal(start_key, (1, 2, 3)))


def test_a_batch_draws_what_its_samples_draw_alone():
    schedule = make_schedule()

    @jax.jit
    def run(sampler, keys):
        begin = initial_state(halve, sampler, first_noise(keys, (3, 2)))
        return take_steps(halve, sampler, keys, begin, 0, 5).x

    def halve(x, t):
        return Prediction(0.5 * x)

    for settings in ({"kind": "ddpm"}, {"kind": "ddim", "eta": 0.5}, {"kind": "dpm_sde"}):
        sampler = padded(make_sampler(schedule, steps=5, **settings))
        together = run(sampler, KEYS)
        assert together.shape == (4, 3, 2) and np.abs(np.diff(together, axis=0)).max() > 0.05
        for index in range(4):
            np.testing.assert_allclose(run(sampler, KEYS[index : index + 1])[0], together[index], rtol=1e-6, atol=1e-7)


def test_deterministic_samplers_repeat_themselves_and_random_ones_follow_their_key():
    schedule = make_schedule()
    start = jax.random.normal(jax.random.key(0), (4, 3))
    one, other = KEYS, jax.random.split(jax.random.key(2), 4)
    denoise = mixture_denoiser(schedule)
    program = jax.jit(lambda sampler, keys: sample(denoise, sampler, keys, start).x0)

    def run(kind, keys, **settings):
        return np.asarray(program(make_sampler(schedule, kind, 8, **settings), keys))

    np.testing.assert_array_equal(run("dpm", one), run("dpm", other))
    np.testing.assert_array_equal(run("dpm", one), run("dpm", None))
    for kind, settings in [("ddpm", {}), ("ddim", {"eta": 1.0})]:
        np.testing.assert_array_equal(run(kind, one, **settings), run(kind, one, **settings))
        assert np.abs(run(kind, one, **settings) - run(kind, other, **settings)).max() > 1e-3
        with pytest.raises(ValueError, match="key"):
            run(kind, None, **settings)
    with pytest.raises(ValueError, match="key"):
        sample(denoise, make_sampler(schedule), None, (3,))


def test_steps_may_be_taken_in_any_portions():
    schedule = make_schedule()
    denoise = mixture_denoiser(schedule)
    sampler = make_sampler(schedule, "dpm_sde", 9)
    expected, path = sample_trajectory(denoise, sampler, KEYS, (3,))

    def advance(state, start, stop):
        return take_steps(denoise, sampler, KEYS, state, start, stop)

    state = initial_state(denoise, sampler, first_noise(KEYS, (3,)))
    program = jax.jit(advance)
    for start, stop in [(0, 1), (1, 6), (6, 9)]:
        state = program(state, start, stop)
        np.testing.assert_allclose(state.prediction.x0, path[stop - 1], atol=1e-6)
    np.testing.assert_allclose(state.x, expected.x0, atol=1e-6)
    assert program._cache_size() == 1


@pytest.mark.parametrize("config", [COSINE, FLOW])
def test_one_program_serves_every_sampler_and_number_of_steps(config):
    schedule = make_schedule(config)
    denoise = mixture_denoiser(schedule)

    @jax.jit
    def program(sampler, keys, steps):
        begin = initial_state(denoise, sampler, sampler.start * first_noise(keys, (3,)))
        return take_steps(denoise, sampler, keys, begin, 0, steps).x

    usual = "euler" if schedule.is_flow else "edm"
    for kind, steps, settings in [("ddpm", 30, {}), ("dpm", 64, {}), (usual, 1, {})]:
        sampler = make_sampler(schedule, kind, steps, **settings)
        table = padded(sampler)
        assert table.timesteps.dtype == sampler.timesteps.dtype and len(table.timesteps) == 64
        expected = sample(denoise, sampler, KEYS, (3,)).x0
        np.testing.assert_allclose(program(table, KEYS, steps), expected, atol=1e-4)
    assert program._cache_size() == 1
    assert len(padded(make_sampler(schedule, "dpm", 65)).x) == 128


def test_the_denoiser_is_told_timesteps_in_the_dtype_of_the_table():
    seen = []

    def denoise(x, t):
        assert t.shape == (3,)
        jax.debug.callback(lambda t: seen.append((t.dtype, t.tolist())), t, ordered=True)
        return Prediction(x)

    sample(denoise, make_sampler(make_schedule(), "ddim", 10), None, jnp.zeros((3, 2)))
    jax.effects_barrier()
    expected = np.load(GOLDEN)["steps10/timestep_map"][::-1]
    assert seen == [(np.int32, [t] * 3) for t in expected]
    seen.clear()
    sample(denoise, make_sampler(make_schedule(FLOW), "euler", 4), None, jnp.zeros((3, 2)))
    jax.effects_barrier()
    # s = 1, 3/4, 1/2, 1/4 with shift 3: 3 s / (1 + 2 s).
    assert all(dtype == np.float32 and t[0] == t[2] for dtype, t in seen)
    np.testing.assert_allclose([t[0] for _, t in seen], [1000.0, 900.0, 750.0, 500.0], rtol=1e-7)


def test_the_last_aux_is_returned_whatever_its_tree():
    sampler = make_sampler(make_schedule(), "dpm", 5)

    def denoise(x, t):
        aux = {"mean": x.mean(), "t": (t, None), "weak": 1.5, "flag": t > 500, "half": x.astype(jnp.bfloat16)}
        return Prediction(0.5 * x, aux)

    start = jax.random.normal(jax.random.key(0), (2, 3))
    result, path = jax.jit(lambda x: sample_trajectory(denoise, sampler, None, x))(start)
    assert result.aux["t"][0].tolist() == [int(sampler.timesteps[-1])] * 2 and result.aux["t"][1] is None
    assert float(result.aux["weak"]) == 1.5 and not result.aux["flag"].any()
    np.testing.assert_allclose(2 * result.x0, result.aux["half"].astype(jnp.float32), rtol=1e-2)
    np.testing.assert_array_equal(path[-1], result.x0)
    np.testing.assert_allclose(sample(denoise, sampler, None, start).x0, result.x0, rtol=1e-6)


def test_a_known_clean_array_comes_out_as_it_is():
    clean = jnp.array([[0.25, -1.5], [3.0, 0.125]])
    for kind in ("ddpm", "dpm_sde"):
        result, path = sample_trajectory(
            lambda x, t: Prediction(clean), make_sampler(make_schedule(), kind, 3), KEYS[:2], (2,)
        )
        np.testing.assert_array_equal(result.x0, clean)
        assert path.shape == (3, 2, 2)


def test_the_denoiser_is_compiled_once():
    def run(x):
        return sample(lambda x, t: Prediction(jnp.sin(x)), make_sampler(make_schedule()), None, x)

    loops = str(jax.make_jaxpr(run)(jnp.zeros((1, 2))))
    assert loops.count("sin ") == 1 and loops.count("scan[") == 1


@pytest.mark.parametrize("jitted", [False, True])
def test_progress_is_reported_after_every_step(jitted):
    done = []
    sampler = make_sampler(make_schedule(), "ddim", 6)

    def run(x):
        return sample(lambda x, t: Prediction(jnp.tanh(x)), sampler, None, x, on_step=done.append)

    jax.block_until_ready((jax.jit(run) if jitted else run)(jnp.ones((2, 2))))
    jax.effects_barrier()
    assert sorted(done) == [1, 2, 3, 4, 5, 6]
    assert all(type(count) is int for count in done)


def test_the_loop_keeps_the_dtype_it_starts_with():
    sampler = make_sampler(make_schedule(), "ddpm", 3)
    for dtype in (jnp.float32, jnp.bfloat16):
        result = sample(lambda x, t: Prediction(x.astype(jnp.bfloat16)), sampler, KEYS, jnp.ones((4, 2), dtype))
        assert result.x0.dtype == dtype


@pytest.mark.slow
@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize(("config", "kind"), [(COSINE, "dpm"), (COSINE, "ddpm"), (FLOW, "dpm_sde"), (FLOW, "euler")])
def test_gradients_flow_through_the_whole_loop(config, kind):
    sampler = make_sampler(make_schedule(config), kind, 5)

    def final(x, weight):
        def denoise(x, t):
            return Prediction(jnp.tanh(weight * x + jnp.sin(t / 100.0)[:, None]))

        return jnp.sum(sample(denoise, sampler, KEYS, x).x0 ** 2)

    start, weight = jax.random.normal(jax.random.key(3), (4, 2), jnp.float64), jnp.array([[0.6, -0.9]])
    value, gradients = jax.jit(jax.value_and_grad(final, (0, 1)))(start, weight)
    assert np.isfinite(value)
    function = jax.jit(final)
    towards = [jax.random.normal(jax.random.key(9), given.shape, jnp.float64) for given in (start, weight)]
    for moved in ((1.0, 0.0), (0.0, 1.0)):
        ends = [function(start + h * moved[0] * towards[0], weight + h * moved[1] * towards[1]) for h in (1e-5, -1e-5)]
        expected = sum(m * jnp.sum(g * d) for m, g, d in zip(moved, gradients, towards, strict=True))
        np.testing.assert_allclose(expected, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-9)


def test_a_single_step_may_be_taken_by_hand():
    schedule = make_schedule()
    sampler = make_sampler(schedule, "ddpm", 3)
    denoise = mixture_denoiser(schedule)
    state = initial_state(denoise, sampler, first_noise(KEYS, (2,)))
    for index in range(3):
        state = sampler_step(denoise, sampler, index, state, step_noise(KEYS, index, (2,)))
    np.testing.assert_allclose(state.x, sample(denoise, sampler, KEYS, (2,)).x0, atol=1e-5)
    with pytest.raises(ValueError, match="noise"):
        sampler_step(denoise, sampler, 0, state)
