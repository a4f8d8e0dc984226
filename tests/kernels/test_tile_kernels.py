"""The kernels by themselves, against blending written out in float64.

Interpreted where there is no GPU; on a GPU the same tests run the compiled kernels.
"""

import functools

import diffgs_kernels
import jax
import jax.numpy as jnp
import numpy as np
import pytest

INTERPRET = jax.default_backend() != "gpu"
RULES = diffgs_kernels.Rules(alpha_min=1 / 255, alpha_max=0.99, transmittance_min=1e-4)
TILING = diffgs_kernels.Tiling(side=8, columns=2, rows=1)  # one image of 8 × 16 pixels
CHANNELS = 3
STATIC = {"tiling": TILING, "rules": RULES, "interpret": INTERPRET}
blend_pass = jax.jit(functools.partial(diffgs_kernels.blend_pass, **STATIC))
blend_pass_backward = jax.jit(functools.partial(diffgs_kernels.blend_pass_backward, **STATIC))


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
            rng.uniform([-2, -2], [18, 10], (entries, 2)),
            rng.uniform([0.02, -0.01, 0.02], [0.2, 0.01, 0.2], (entries, 3)),
            rng.uniform(0.3, 1.0, (entries, 1)),
            rng.uniform(0, 1, (entries, CHANNELS)),
        ],
        axis=1,
    ).astype(np.float32)
    rows[20:24, :2] = 4.0  # four opaque ones in one place: clamped alphas, and a stop
    rows[20:24, 5] = 1.0
    return rows, np.asarray([0, 38], np.int32), counts


def initial_state():
    return jnp.ones((2, TILING.pixels)), jnp.zeros((2, CHANNELS, TILING.pixels))


def test_blending_is_that_of_the_definition(lists):
    light, blended = blend_pass(*lists, *initial_state())
    expected_light, expected = blend_by_definition(*lists)
    assert np.any(expected_light < 0) and np.any(expected_light > 0), "the scene should stop at some pixels only"
    np.testing.assert_array_equal(np.sign(light), np.sign(expected_light))
    np.testing.assert_allclose(light, expected_light, atol=1e-6)
    np.testing.assert_allclose(blended, expected, atol=2e-6)


def test_blending_stops_for_good(lists):
    # Transmittance reaches 1e-3; the third would take it below 1e-4 and stops the pixel; the fourth would not, alone.
    rows = np.zeros_like(lists[0])
    rows[:4, 5] = [0.9, 0.99, 0.95, 0.5]
    rows[:4, 6:] = np.eye(4, 3) + 1.0
    starts, counts = np.asarray([0, 4], np.int32), np.asarray([4, 0], np.int32)
    light, blended = blend_pass(rows, starts, counts, *initial_state())
    np.testing.assert_allclose(light[0], -1e-3, rtol=1e-4)
    np.testing.assert_allclose(blended[0, :, 0], 0.9 * rows[0, 6:] + 0.099 * rows[1, 6:], rtol=1e-5)
    np.testing.assert_array_equal(light[1], 1.0)
    np.testing.assert_array_equal(blended[1], 0.0)


def test_passes_carry_on_where_the_last_one_ended(lists):
    rows, starts, counts = lists
    whole_light, whole = blend_pass(rows, starts, counts, *initial_state())
    first = np.asarray([21, 5], np.int32)
    light, blended = blend_pass(rows, starts, first, *initial_state())
    light, blended = blend_pass(rows, starts + first, counts - first, light, blended)
    np.testing.assert_array_equal(light, whole_light)
    np.testing.assert_array_equal(blended, whole)

    cotangents = jnp.asarray(np.random.default_rng(1).normal(size=whole.shape), jnp.float32)
    behind = jnp.sum(whole * cotangents, axis=1) + jnp.abs(whole_light)
    light, rest, gradients = blend_pass_backward(rows, starts, counts, initial_state()[0], behind, cotangents)
    np.testing.assert_array_equal(light, whole_light)
    np.testing.assert_allclose(rest, jnp.abs(whole_light), atol=1e-5)  # nothing is left but the background's part
    half_light, rest, half = blend_pass_backward(rows, starts, first, initial_state()[0], behind, cotangents)
    other = blend_pass_backward(rows, starts + first, counts - first, half_light, rest, cotangents)[2]
    np.testing.assert_array_equal(half + other, gradients)
    np.testing.assert_array_equal(gradients[counts.sum() :], 0.0)  # rows of no list, whatever is in them


def test_row_gradients_are_finite_differences(lists):
    rows, starts, counts = lists
    rng = np.random.default_rng(2)
    by_light, cotangents = rng.normal(size=(2, TILING.pixels)), rng.normal(size=(2, CHANNELS, TILING.pixels))

    def loss(rows):
        light, blended = blend_by_definition(rows, starts, counts)
        return np.sum(np.abs(light) * by_light) + np.sum(blended * cotangents)

    light, blended = blend_pass(rows, starts, counts, *initial_state())
    behind = jnp.sum(blended * cotangents.astype(np.float32), axis=1) + jnp.abs(light) * by_light.astype(np.float32)
    cotangents32 = jnp.asarray(cotangents, jnp.float32)
    gradients = blend_pass_backward(rows, starts, counts, initial_state()[0], behind, cotangents32)[2]
    listed = counts.sum()
    rows = rows.astype(np.float64)
    for column in range(rows.shape[1]):
        expected = np.zeros(listed)
        for entry in range(listed):
            step = np.zeros_like(rows)
            step[entry, column] = 1e-7  # small enough that hardly a pixel crosses a threshold
            expected[entry] = (loss(rows + step) - loss(rows - step)) / 2e-7
        error = np.abs(np.asarray(gradients[:listed, column]) - expected) / np.linalg.norm(expected)
        assert np.max(error) < 1e-3, f"column {column}: {np.max(error):.1e}"


def test_rows_are_summed_by_owner():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(100, 10)).astype(np.float32)
    owners = rng.integers(-1, 22, 100).astype(np.int32)
    owners[owners == 5] = 6  # an owner of nothing
    sums = jax.jit(functools.partial(diffgs_kernels.sum_rows, count=20, interpret=INTERPRET))(rows, owners)
    expected = np.stack([rows[owners == owner].astype(np.float64).sum(axis=0) for owner in range(20)])
    np.testing.assert_allclose(sums, expected, atol=1e-5)


def test_the_same_input_gives_the_same_bits(lists):
    cotangents = jnp.asarray(np.random.default_rng(4).normal(size=(2, CHANNELS, TILING.pixels)), jnp.float32)
    state = initial_state()[0]
    first, second = (blend_pass_backward(*lists, state, state, cotangents) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_arrays_that_do_not_fit_are_named(lists):
    light, blended = initial_state()
    with pytest.raises(ValueError, match="64 pixels"):
        blend_pass(*lists, light[:, :32], blended[..., :32])
    with pytest.raises(ValueError, match="columns"):
        blend_pass(*lists, light, blended[:, :2])
    with pytest.raises(ValueError, match="power of two"):
        diffgs_kernels.Tiling(side=12, columns=1, rows=1)
