"""What is left out is known by hand."""

import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import Box, Sphere, clean_gaussians


def row_of_gaussians():
    """Seven along x, from −1.5 to 1.5; opacities 0 to 0.6."""
    means = np.zeros((7, 3), np.float32)
    means[:, 0] = np.linspace(-1.5, 1.5, 7)
    return Gaussians(
        means, np.ones((7, 4), np.float32), np.ones((7, 3)), np.arange(7) / 10, np.arange(21.0).reshape(7, 1, 3)
    )


def kept(**settings):
    return np.round(10 * clean_gaussians(row_of_gaussians(), **settings).opacities).astype(int).tolist()


def test_what_is_kept():
    assert kept() == list(range(7))
    assert kept(min_opacity=0.25) == [3, 4, 5, 6]
    assert kept(crop=Sphere()) == [1, 2, 3, 4, 5]
    assert kept(crop=Sphere(0.6, (1.0, 0.0, 0.0))) == [4, 5, 6]
    assert kept(crop=Box()) == [1, 2, 3, 4, 5]
    assert kept(crop=Box((0.4, -0.1, -0.1), (2.0, 0.1, 0.1)), min_opacity=0.45) == [5, 6]
    assert kept(crop=Box((0.0, 0.5, 0.0), (1.0, 1.0, 1.0))) == []
    cleaned = clean_gaussians(row_of_gaussians(), min_opacity=0.55)
    np.testing.assert_array_equal(cleaned.sh, [[[18.0, 19.0, 20.0]]])
    assert [leaf.shape[0] for leaf in cleaned] == [1] * 5


def test_numbers_that_are_none_go():
    gaussians = row_of_gaussians()
    gaussians.sh[2, 0, 1] = np.nan
    gaussians.means[4, 2] = np.inf
    assert len(clean_gaussians(gaussians).means) == 5


def test_impossible_settings():
    for settings in ({"min_opacity": 1.5}, {"crop": Sphere(0.0)}, {"crop": Box((0.0, 0.0, 0.0), (1.0, 0.0, 1.0))}):
        with pytest.raises(UserError):
            clean_gaussians(row_of_gaussians(), **settings)
