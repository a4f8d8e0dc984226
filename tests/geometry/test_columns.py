"""Vectors taken apart and put together: the same numbers as by indexing and stacking, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import join_columns, split_columns

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 1), (2, 0, 3), (2, 4, 0), (3,), (2, 40)])
def test_columns_come_apart_and_together_again(shape):
    values = RANDOM.normal(size=shape).astype(np.float32)
    columns = split_columns(jnp.asarray(values))
    assert len(columns) == shape[-1]
    for index, column in enumerate(columns):
        np.testing.assert_array_equal(column, values[..., index])
    if columns:
        np.testing.assert_array_equal(join_columns(columns), values)


def test_gradients_go_to_the_column_they_belong_to():
    values, weights = RANDOM.normal(size=(2, 7, 3)).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradient(values):
        x, y, z = split_columns(values)
        return jnp.sum(join_columns([x, 2 * z, y]) * weights)

    expected = np.stack([weights[:, 0], weights[:, 2], 2 * weights[:, 1]], axis=-1)
    np.testing.assert_array_equal(gradient(jnp.asarray(values)), expected)
