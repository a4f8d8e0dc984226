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
from diffgs_kernels import _row_sums

RULES = diffgs_kernels.Rules(alpha_min=1 / 255, alpha_max=0.99, transmittance_min=1e-4)
TILING = diffgs_kernels.Tiling(side=16, columns=2, rows=1)  # one image of 16 × 32 pixels
CHANNELS = 3


class Kernels(NamedTuple):
    blend_pass: jax.stages.Wrapped
    blend_pass_backward: jax.stages.Wrapped
    add_rows: jax.stages.Wrapped


class Lists(NamedTuple):
    """Two lists, the first long and dense enough to stop at many pixels; ten of the Gaussians are in both."""

    table: jax.Array
    ids: jax.Array
    owners: jax.Array
    starts: jax.Array
    counts: jax.Array

    def without_owners(self):
        return self.table, self.ids, self.starts, self.counts


@pytest.fixture(scope="session")
def kernels(launcher, interpret):
    return compiled(launcher, interpret)


def compiled(launcher, interpret):
    static = {"tiling": TILING, "rules": RULES, "launcher": launcher, "interpret": interpret}
    return Kernels(
        jax.jit(functools.partial(diffgs_kernels.blend_pass, **static)),
        jax.jit(functools.partial(diffgs_kernels.blend_pass_backward, **static)),
        jax.jit(functools.partial(diffgs_kernels.add_rows, launcher=launcher, interpret=interpret)),
    )


def table_gradient(kernels, lists, *state):
    """The gradient of the whole table, each Gaussian's rows added up one by one."""
    rows = np.asarray(kernels.blend_pass_backward(*lists, *state)[2], np.float64)
    gradient = np.zeros(lists.table.shape)
    for splat, (_, _, first, count) in enumerate(np.asarray(lists.owners)):
        gradient[splat] = rows[first : first + count].sum(axis=0)
    return gradient


def blend_by_definition(table, ids, starts, counts):
    """Returns light (negated where stopped) and blended channels, one entry and one tile after the other."""
    lights, totals = [], []
    rows = np.asarray(table, np.float64)[np.asarray(ids)]
    for tile, (start, count) in enumerate(zip(starts, counts, strict=True)):
        pixel = np.arange(TILING.pixels)
        x, y = tile * TILING.side + pixel % TILING.side + 0.5, pixel // TILING.side + 0.5
        light, total = np.ones(TILING.pixels), np.zeros((CHANNELS, TILING.pixels))
        stopped = np.zeros(TILING.pixels, bool)
        for mean_x, mean_y, xx, xy, yy, opacity, *channels in rows[start : start + count]:
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
    rng = np.random.default_rng(0)
    splats, in_first, in_second = 60, np.arange(38), np.arange(28, 45)
    rows = np.concatenate(
        [
            rng.uniform([-4, -4], [36, 20], (splats, 2)),
            rng.uniform([0.005, -0.003, 0.005], [0.05, 0.003, 0.05], (splats, 3)),
            rng.uniform(0.3, 1.0, (splats, 1)),
            rng.uniform(0, 1, (splats, CHANNELS)),
        ],
        axis=1,
    ).astype(np.float32)
    rows[20:24, :2] = 8.0  # four opaque ones in one place: clamped alphas, and a stop
    rows[20:24, 5] = 1.0

    number = rng.permutation(splats)  # where in the table the splats are
    table = np.zeros_like(rows)
    table[number] = rows
    ids = np.concatenate([number[in_first], number[in_second], number[:5]])  # behind the lists comes anything
    column = np.where(np.isin(np.arange(splats), in_first), 0, 1)  # of the first tile that a splat touches
    width = np.isin(np.arange(splats), in_first).astype(int) + np.isin(np.arange(splats), in_second)
    first = np.cumsum(width) - width
    owners = np.zeros((splats, 4), np.int32)
    owners[number] = np.stack([first - column, width, first, width], axis=-1)
    integers = (jnp.asarray(values, jnp.int32) for values in (ids, owners, [0, 38], [38, 17]))
    return Lists(jnp.asarray(table), *integers)


def initial_state():
    return jnp.ones((2, TILING.pixels)), jnp.zeros((2, CHANNELS, TILING.pixels))


def test_blending_is_that_of_the_definition(kernels, lists):
    light, blended = kernels.blend_pass(*lists.without_owners(), *initial_state())
    expected_light, expected = blend_by_definition(*lists.without_owners())
    assert np.any(expected_light < 0) and np.any(expected_light > 0), "the scene should stop at some pixels only"
    np.testing.assert_array_equal(np.sign(light), np.sign(expected_light))
    np.testing.assert_allclose(light, expected_light, atol=1e-6)
    np.testing.assert_allclose(blended, expected, atol=2e-6)


def test_blending_stops_for_good(kernels, lists):
    # Transmittance reaches 1e-3; the third would take it below 1e-4 and stops the pixel; the fourth would not, alone.
    rows = np.zeros(lists.table.shape, np.float32)
    rows[:4, 5] = [0.9, 0.99, 0.95, 0.5]
    rows[:4, 6:] = np.eye(4, 3) + 1.0
    ids = np.arange(len(lists.ids), dtype=np.int32)
    starts, counts = np.asarray([0, 4], np.int32), np.asarray([4, 0], np.int32)
    light, blended = kernels.blend_pass(rows, ids, starts, counts, *initial_state())
    np.testing.assert_allclose(light[0], -1e-3, rtol=1e-4)
    np.testing.assert_allclose(blended[0, :, 0], 0.9 * rows[0, 6:] + 0.099 * rows[1, 6:], rtol=1e-5)
    np.testing.assert_array_equal(light[1], 1.0)
    np.testing.assert_array_equal(blended[1], 0.0)


@pytest.mark.slow
def test_passes_carry_on_where_the_last_one_ended(kernels, lists):
    table, ids, owners, starts, counts = lists
    whole_light, whole = kernels.blend_pass(table, ids, starts, counts, *initial_state())
    first = jnp.asarray([21, 5], jnp.int32)
    light, blended = kernels.blend_pass(table, ids, starts, first, *initial_state())
    light, blended = kernels.blend_pass(table, ids, starts + first, counts - first, light, blended)
    np.testing.assert_array_equal(light, whole_light)
    np.testing.assert_array_equal(blended, whole)

    cotangents = jnp.asarray(np.random.default_rng(1).normal(size=whole.shape), jnp.float32)
    behind = jnp.sum(whole * cotangents, axis=1) + jnp.abs(whole_light)
    fresh = initial_state()[0]
    light, rest, rows = kernels.blend_pass_backward(*lists, fresh, behind, cotangents)
    np.testing.assert_array_equal(light, whole_light)
    np.testing.assert_allclose(rest, jnp.abs(whole_light), atol=1e-5)  # nothing is left but the background's part
    light, rest, half = kernels.blend_pass_backward(table, ids, owners, starts, first, fresh, behind, cotangents)
    other = kernels.blend_pass_backward(table, ids, owners, starts + first, counts - first, light, rest, cotangents)[2]
    is_early = np.zeros(len(rows), bool)  # which slots the first half of the lists writes
    for tile, (start, count) in enumerate(zip(starts, first, strict=True)):
        corner = np.asarray(owners)[np.asarray(ids[start : start + count]), 0]
        is_early[corner + tile] = True
    listed = int(counts.sum())
    np.testing.assert_array_equal(np.where(is_early[:, None], half, other)[:listed], rows[:listed])


@pytest.fixture(scope="module")
def differences(lists):
    """Cotangents of light and channels, and finite differences of the loss they make by every number of the table."""
    table, ids, starts, counts = lists.without_owners()
    rng = np.random.default_rng(2)
    by_light, cotangents = rng.normal(size=(2, TILING.pixels)), rng.normal(size=(2, CHANNELS, TILING.pixels))

    def loss(table):
        light, blended = blend_by_definition(table, ids, starts, counts)
        return np.sum(np.abs(light) * by_light) + np.sum(blended * cotangents)

    table = np.asarray(table, np.float64)
    expected = np.zeros_like(table)
    for index in np.ndindex(expected.shape):
        step = np.zeros_like(table)
        step[index] = 1e-7  # small enough that hardly a pixel crosses a threshold
        expected[index] = (loss(table + step) - loss(table - step)) / 2e-7
    return by_light.astype(np.float32), cotangents.astype(np.float32), expected


@pytest.mark.slow
def test_row_gradients_are_finite_differences(kernels, lists, differences):
    by_light, cotangents, expected = differences
    light, blended = kernels.blend_pass(*lists.without_owners(), *initial_state())
    behind = jnp.sum(blended * cotangents, axis=1) + jnp.abs(light) * by_light
    gradient = table_gradient(kernels, lists, initial_state()[0], behind, cotangents)
    error = np.abs(gradient - expected) / np.linalg.norm(expected, axis=0, keepdims=True)
    assert np.max(error) < 1e-3, f"by column: {np.max(error, axis=0)}"


@pytest.mark.slow
def test_rows_that_are_not_finite_are_skipped_and_no_list_hangs(kernels, lists):
    hostile, tame = np.array(lists.table), np.array(lists.table)
    bad = np.asarray(lists.ids)[[3, 17, 30, 45]]
    hostile[bad, [0, 2, 1, 5]] = [np.nan, np.nan, np.inf, np.nan]
    tame[bad, 5] = 0.0
    hostile, tame = lists._replace(table=hostile), lists._replace(table=tame)
    light, blended = kernels.blend_pass(*hostile.without_owners(), *initial_state())
    expected_light, expected = kernels.blend_pass(*tame.without_owners(), *initial_state())
    np.testing.assert_array_equal(light, expected_light)
    np.testing.assert_array_equal(blended, expected)
    ones = jnp.ones_like(blended)
    gradients, expected = (
        np.delete(table_gradient(kernels, values, *[initial_state()[0]] * 2, ones), bad, axis=0)
        for values in (hostile, tame)
    )
    np.testing.assert_array_equal(gradients, expected)

    # Nothing but NaN; no list at all; nothing but pixels that have stopped, NaN among them.
    nothing = lists._replace(table=lists.table * np.nan)
    none = nothing._replace(counts=jnp.zeros_like(lists.counts), owners=lists.owners.at[:, 3].set(0))
    stopped = jnp.full((2, TILING.pixels), -0.5).at[0, 7].set(jnp.nan)
    for light, values in ((initial_state()[0], none), (stopped, lists)):
        after, blended = kernels.blend_pass(*values.without_owners(), light, initial_state()[1])
        np.testing.assert_array_equal(after, light)
        np.testing.assert_array_equal(blended, 0.0)
        after = kernels.blend_pass_backward(*values, light, light, ones)[0]
        np.testing.assert_array_equal(after, light)
        np.testing.assert_array_equal(table_gradient(kernels, values, light, light, ones), 0.0)
    light, _ = kernels.blend_pass(*nothing.without_owners(), *initial_state())
    np.testing.assert_array_equal(light, 1.0)


@pytest.fixture(scope="module")
def owned():
    """Rows of 300 Gaussians, of which some have none and one has half of all; owners; sums before and after."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(0, 5, 300).astype(np.int32)
    lengths[[7, 90]] = [600, 0]
    firsts = np.zeros_like(lengths)
    order = rng.permutation(300)  # owners are not in the order of their rows
    firsts[order] = np.cumsum(lengths[order]) - lengths[order]
    owners = np.stack([np.zeros_like(firsts), np.zeros_like(firsts), firsts, lengths], axis=-1)
    rows = rng.normal(size=(lengths.sum() + 9, 10)).astype(np.float32)
    rows[lengths.sum() :] = np.nan  # nobody's
    sums = rng.normal(size=(300, 10)).astype(np.float32)
    added = [rows[first : first + count].astype(np.float64).sum(axis=0) for first, count in owners[:, 2:]]
    return rows, owners, sums, sums + np.stack(added)


def test_rows_are_added_to_their_owners(kernels, owned):
    *operands, expected = owned
    np.testing.assert_allclose(kernels.add_rows(*map(jnp.asarray, operands)), expected, rtol=1e-5, atol=2e-5)


def test_rows_are_added_without_a_kernel(owned):
    *operands, expected = owned
    np.testing.assert_allclose(jax.jit(_row_sums.add_rows)(*map(jnp.asarray, operands)), expected, rtol=1e-5, atol=2e-5)


def test_the_same_input_gives_the_same_bits(kernels, lists):
    cotangents = jnp.asarray(np.random.default_rng(4).normal(size=(2, CHANNELS, TILING.pixels)), jnp.float32)
    state = initial_state()[0]
    first, second = (kernels.blend_pass_backward(*lists, state, state, cotangents) for _ in range(2))
    listed = int(lists.counts.sum())
    for one, other in zip((*first[:2], first[2][:listed]), (*second[:2], second[2][:listed]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_direction_lowers_for_cuda(launcher, lists, naming_a_gpu):
    kernels = compiled(launcher, interpret=False)
    light, blended = initial_state()
    programs = (
        (kernels.blend_pass, (*lists.without_owners(), light, blended)),
        (kernels.blend_pass_backward, (*lists, light, light, blended)),
    )
    with naming_a_gpu:
        for kernel, operands in programs:
            lowered = kernel.trace(*operands).lower(lowering_platforms=("cuda",)).as_text()
            assert {"triton": "__gpu$xla.gpu.triton", "mosaic": "mosaic_gpu"}[launcher] in lowered


def test_arrays_that_do_not_fit_are_named(kernels, lists):
    light, blended = initial_state()
    with pytest.raises(ValueError, match="256 pixels"):
        kernels.blend_pass(*lists.without_owners(), light[:, :32], blended[..., :32])
    with pytest.raises(ValueError, match="columns"):
        kernels.blend_pass(*lists.without_owners(), light, blended[:, :2])
    with pytest.raises(ValueError, match="at least one Gaussian"):
        kernels.blend_pass(*lists._replace(table=lists.table[:0]).without_owners(), light, blended)
    with pytest.raises(ValueError, match="power of two"):
        diffgs_kernels.Tiling(side=12, columns=1, rows=1)


def test_what_mosaic_cannot_do_is_named(lists):
    static = {"rules": RULES, "launcher": "mosaic"}
    small = diffgs_kernels.Tiling(side=8, columns=2, rows=1)
    light, blended = initial_state()
    with pytest.raises(ValueError, match="at least 16 pixels"):
        diffgs_kernels.blend_pass(*lists.without_owners(), light[:, :64], blended[..., :64], tiling=small, **static)
    half = lists._replace(table=jnp.asarray(lists.table, jnp.bfloat16))
    with pytest.raises(ValueError, match="must be float32"):
        diffgs_kernels.blend_pass(*half.without_owners(), light, blended, tiling=TILING, **static)
    wide = lists._replace(table=jnp.zeros((60, 500)))
    with pytest.raises(ValueError, match="400 at most"):
        state = (light, light, jnp.zeros((2, 494, 256)))
        diffgs_kernels.blend_pass_backward(*wide, *state, tiling=TILING, **static)


def test_a_jax_without_triton_still_has_mosaic(monkeypatch, lists):
    from jax.experimental import pallas

    independent = ("diffgs_kernels._tile_body", "diffgs_kernels._settings")
    for name in [name for name in sys.modules if name.split(".")[0] == "diffgs_kernels" and name not in independent]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr(pallas, "triton", raising=False)
    fresh = importlib.import_module("diffgs_kernels")
    operands = (*lists.without_owners(), *initial_state())
    settings = {"tiling": fresh.Tiling(16, 2, 1), "rules": fresh.Rules(1 / 255, 0.99, 1e-4)}
    jax.eval_shape(functools.partial(fresh.blend_pass, launcher="mosaic", **settings), *operands)
    added = functools.partial(fresh.add_rows, launcher="mosaic")
    jax.eval_shape(added, lists.table, lists.owners, lists.table)
    with pytest.raises(NotImplementedError, match="use 'mosaic'"):
        fresh.blend_pass(*operands, launcher="triton", **settings)
