"""The kernels by themselves, against blending written out in float64."""

import functools
import importlib
import sys
from typing import NamedTuple

import diffgs_kernels
import jax
import jax.numpy as jnp
import numpy as np
import pytest

RULES = diffgs_kernels.Rules(alpha_min=1 / 255, alpha_max=0.99, transmittance_min=1e-4)
TILING = diffgs_kernels.Tiling(side=16, columns=2, rows=1)  # one image of 16 × 32 pixels
CHANNELS = 3


class Kernels(NamedTuple):
    blend_pass: jax.stages.Wrapped
    blend_pass_backward: jax.stages.Wrapped
    sum_rows: jax.stages.Wrapped


@pytest.fixture(scope="session")
def kernels(launcher, interpret):
    return compiled(launcher, interpret)


def compiled(launcher, interpret):
    static = {"tiling": TILING, "rules": RULES, "launcher": launcher, "interpret": interpret}
    return Kernels(
        jax.jit(functools.partial(diffgs_kernels.blend_pass, **static)),
        jax.jit(functools.partial(diffgs_kernels.blend_pass_backward, **static)),
        jax.jit(functools.partial(diffgs_kernels.sum_rows, count=20, launcher=launcher, interpret=interpret)),
    )


def blend_by_definition(rows, starts, counts):
    """Returns light (negated where stopped) and blended channels, one entry and one tile after the other."""
    lights, totals = [], []
    for tile, (start, count) in enumerate(zip(starts, counts, strict=True)):
        pixel = np.arange(TILING.pixels)
        x, y = tile * TILING.side + pixel % TILING.side + 0.5, pixel // TILING.side + 0.5
        light, total = np.ones(TILING.pixels), np.zeros((CHANNELS, TILING.pixels))
        stopped = np.zeros(TILING.pixels, bool)
        for mean_x, mean_y, xx, xy, yy, opacity, *channels in np.asarray(rows[start : start + count], np.float64):
            dx, dy = x - mean_x, y - mean_y
            alpha = np.minimum(0.99, opacity * np.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy))
            alpha = np.where(alpha < 1 / 255, 0.0, alpha)
            stopped |= light * (1 - alpha) < 1e-4
            weight = np.where(stopped, 0.0, light * alpha)
            total += weight * np.asarray(channels)[:, None]
            light = np.where(stopped, light, light * (1 - alpha))
        lights.append(np.where(stopped, -light, light))
        totals.append(total)
    return np.stack(lights), np.stack(totals)


@pytest.fixture(scope="module")
def lists():
    """Rows of two lists, the first long and dense enough to stop at many pixels, and unused rows behind them."""
    rng = np.random.default_rng(0)
    entries, counts = 60, np.asarray([38, 17], np.int32)
    rows = np.concatenate(
        [
            rng.uniform([-4, -4], [36, 20], (entries, 2)),
            rng.uniform([0.005, -0.003, 0.005], [0.05, 0.003, 0.05], (entries, 3)),
            rng.uniform(0.3, 1.0, (entries, 1)),
            rng.uniform(0, 1, (entries, CHANNELS)),
        ],
        axis=1,
    ).astype(np.float32)
    rows[20:24, :2] = 8.0  # four opaque ones in one place: clamped alphas, and a stop
    rows[20:24, 5] = 1.0
    return jnp.asarray(rows), jnp.asarray([0, 38], jnp.int32), jnp.asarray(counts)


def initial_state():
    return jnp.ones((2, TILING.pixels)), jnp.zeros((2, CHANNELS, TILING.pixels))


def test_blending_is_that_of_the_definition(kernels, lists):
    light, blended = kernels.blend_pass(*lists, *initial_state())
    expected_light, expected = blend_by_definition(*lists)
    assert np.any(expected_light < 0) and np.any(expected_light > 0), "the scene should stop at some pixels only"
    np.testing.assert_array_equal(np.sign(light), np.sign(expected_light))
    np.testing.assert_allclose(light, expected_light, atol=1e-6)
    np.testing.assert_allclose(blended, expected, atol=2e-6)


def test_blending_stops_for_good(kernels, lists):
    # Transmittance reaches 1e-3; the third would take it below 1e-4 and stops the pixel; the fourth would not, alone.
    rows = np.zeros(lists[0].shape, np.float32)
    rows[:4, 5] = [0.9, 0.99, 0.95, 0.5]
    rows[:4, 6:] = np.eye(4, 3) + 1.0
    starts, counts = np.asarray([0, 4], np.int32), np.asarray([4, 0], np.int32)
    light, blended = kernels.blend_pass(rows, starts, counts, *initial_state())
    np.testing.assert_allclose(light[0], -1e-3, rtol=1e-4)
    np.testing.assert_allclose(blended[0, :, 0], 0.9 * rows[0, 6:] + 0.099 * rows[1, 6:], rtol=1e-5)
    np.testing.assert_array_equal(light[1], 1.0)
    np.testing.assert_array_equal(blended[1], 0.0)


@pytest.mark.slow
def test_passes_carry_on_where_the_last_one_ended(kernels, lists):
    rows, starts, counts = lists
    whole_light, whole = kernels.blend_pass(rows, starts, counts, *initial_state())
    first = np.asarray([21, 5], np.int32)
    light, blended = kernels.blend_pass(rows, starts, first, *initial_state())
    light, blended = kernels.blend_pass(rows, starts + first, counts - first, light, blended)
    np.testing.assert_array_equal(light, whole_light)
    np.testing.assert_array_equal(blended, whole)

    cotangents = jnp.asarray(np.random.default_rng(1).normal(size=whole.shape), jnp.float32)
    behind = jnp.sum(whole * cotangents, axis=1) + jnp.abs(whole_light)
    fresh = initial_state()[0]
    light, rest, gradients = kernels.blend_pass_backward(rows, starts, counts, fresh, behind, cotangents)
    np.testing.assert_array_equal(light, whole_light)
    np.testing.assert_allclose(rest, jnp.abs(whole_light), atol=1e-5)  # nothing is left but the background's part
    half_light, rest, half = kernels.blend_pass_backward(rows, starts, first, fresh, behind, cotangents)
    other = kernels.blend_pass_backward(rows, starts + first, counts - first, half_light, rest, cotangents)[2]
    np.testing.assert_array_equal(half + other, gradients)
    np.testing.assert_array_equal(gradients[counts.sum() :], 0.0)  # rows of no list, whatever is in them


@pytest.fixture(scope="module")
def differences(lists):
    """Cotangents of light and channels, and finite differences of the loss they make by every number of every row."""
    rows, starts, counts = lists
    rng = np.random.default_rng(2)
    by_light, cotangents = rng.normal(size=(2, TILING.pixels)), rng.normal(size=(2, CHANNELS, TILING.pixels))

    def loss(rows):
        light, blended = blend_by_definition(rows, starts, counts)
        return np.sum(np.abs(light) * by_light) + np.sum(blended * cotangents)

    rows = np.asarray(rows, np.float64)
    expected = np.zeros((counts.sum(), rows.shape[1]))
    for index in np.ndindex(expected.shape):
        step = np.zeros_like(rows)
        step[index] = 1e-7  # small enough that hardly a pixel crosses a threshold
        expected[index] = (loss(rows + step) - loss(rows - step)) / 2e-7
    return by_light.astype(np.float32), cotangents.astype(np.float32), expected


@pytest.mark.slow
def test_row_gradients_are_finite_differences(kernels, lists, differences):
    by_light, cotangents, expected = differences
    light, blended = kernels.blend_pass(*lists, *initial_state())
    behind = jnp.sum(blended * cotangents, axis=1) + jnp.abs(light) * by_light
    gradients = kernels.blend_pass_backward(*lists, initial_state()[0], behind, cotangents)[2]
    error = np.abs(gradients[: len(expected)] - expected) / np.linalg.norm(expected, axis=0, keepdims=True)
    assert np.max(error) < 1e-3, f"by column: {np.max(error, axis=0)}"


@pytest.mark.slow
def test_rows_that_are_not_finite_are_skipped_and_no_list_hangs(kernels, lists):
    rows, starts, counts = lists
    hostile = np.array(rows)
    bad = [3, 17, 30, 45]
    hostile[bad, [0, 2, 1, 5]] = [np.nan, np.nan, np.inf, np.nan]
    tame = np.array(rows)
    tame[bad, 5] = 0.0
    light, blended = kernels.blend_pass(hostile, starts, counts, *initial_state())
    expected_light, expected = kernels.blend_pass(tame, starts, counts, *initial_state())
    np.testing.assert_array_equal(light, expected_light)
    np.testing.assert_array_equal(blended, expected)
    ones = jnp.ones_like(blended)
    gradients, expected = (
        np.delete(kernels.blend_pass_backward(values, starts, counts, *[initial_state()[0]] * 2, ones)[2], bad, axis=0)
        for values in (hostile, tame)
    )
    np.testing.assert_array_equal(gradients, expected)

    # Nothing but NaN; no list at all; nothing but pixels that have stopped, NaN among them.
    none = jnp.zeros_like(counts)
    stopped = jnp.full((2, TILING.pixels), -0.5).at[0, 7].set(jnp.nan)
    for light, values, lengths in ((initial_state()[0], rows * np.nan, none), (stopped, rows, counts)):
        after, blended = kernels.blend_pass(values, starts, lengths, light, initial_state()[1])
        np.testing.assert_array_equal(after, light)
        np.testing.assert_array_equal(blended, 0.0)
        after, _, gradients = kernels.blend_pass_backward(values, starts, lengths, light, light, ones)
        np.testing.assert_array_equal(after, light)
        np.testing.assert_array_equal(gradients, 0.0)
    light, _ = kernels.blend_pass(rows * np.nan, starts, counts, *initial_state())
    np.testing.assert_array_equal(light, 1.0)


def test_rows_are_summed_by_owner(kernels):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(100, 10)).astype(np.float32)
    owners = rng.integers(-1, 22, 100).astype(np.int32)
    owners[owners == 5] = 6  # an owner of nothing
    sums = kernels.sum_rows(rows, owners)
    expected = np.stack([rows[owners == owner].astype(np.float64).sum(axis=0) for owner in range(20)])
    np.testing.assert_allclose(sums, expected, atol=1e-5)


def test_the_same_input_gives_the_same_bits(kernels, lists):
    cotangents = jnp.asarray(np.random.default_rng(4).normal(size=(2, CHANNELS, TILING.pixels)), jnp.float32)
    state = initial_state()[0]
    first, second = (kernels.blend_pass_backward(*lists, state, state, cotangents) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_direction_lowers_for_cuda(launcher, lists, naming_a_gpu):
    kernels = compiled(launcher, interpret=False)
    light, blended = initial_state()
    with naming_a_gpu:
        for kernel, state in ((kernels.blend_pass, ()), (kernels.blend_pass_backward, (light,))):
            lowered = kernel.trace(*lists, light, *state, blended).lower(lowering_platforms=("cuda",)).as_text()
            assert {"triton": "__gpu$xla.gpu.triton", "mosaic": "mosaic_gpu"}[launcher] in lowered


def test_arrays_that_do_not_fit_are_named(kernels, lists):
    light, blended = initial_state()
    with pytest.raises(ValueError, match="256 pixels"):
        kernels.blend_pass(*lists, light[:, :32], blended[..., :32])
    with pytest.raises(ValueError, match="columns"):
        kernels.blend_pass(*lists, light, blended[:, :2])
    with pytest.raises(ValueError, match="power of two"):
        diffgs_kernels.Tiling(side=12, columns=1, rows=1)


def test_what_mosaic_cannot_do_is_named(lists):
    static = {"rules": RULES, "launcher": "mosaic"}
    small = diffgs_kernels.Tiling(side=8, columns=2, rows=1)
    light, blended = initial_state()
    with pytest.raises(ValueError, match="at least 16 pixels"):
        diffgs_kernels.blend_pass(*lists, light[:, :64], blended[..., :64], tiling=small, **static)
    with pytest.raises(ValueError, match="must be float32"):
        half = jnp.asarray(lists[0], jnp.bfloat16)
        diffgs_kernels.blend_pass(half, *lists[1:], light, blended, tiling=TILING, **static)


def test_a_jax_without_triton_still_has_mosaic(monkeypatch, lists):
    from jax.experimental import pallas

    for name in [name for name in sys.modules if name.split(".")[0] == "diffgs_kernels"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr(pallas, "triton", raising=False)
    fresh = importlib.import_module("diffgs_kernels")
    operands = (*lists, *initial_state())
    settings = {"tiling": fresh.Tiling(16, 2, 1), "rules": fresh.Rules(1 / 255, 0.99, 1e-4)}
    jax.eval_shape(functools.partial(fresh.blend_pass, launcher="mosaic", **settings), *operands)
    with pytest.raises(NotImplementedError, match="use 'mosaic'"):
        fresh.blend_pass(*operands, launcher="triton", **settings)
