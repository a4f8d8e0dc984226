"""What is left out is known by hand."""

import jax
import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Gaussians, intrinsics_from_fov, look_at
from diffgs_jax.interop import Box, Sphere, clean_gaussians, visible_gaussians
from diffgs_jax.rasterizer import render_dense


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


def test_what_cannot_be_seen_changes_no_pixel_of_twenty_views():
    rng = np.random.default_rng(0)
    count = 60
    opacities = rng.uniform(0.0, 0.02, count).astype(np.float32)
    opacities[::4] = rng.uniform(0.2, 1.0, len(opacities[::4]))
    opacities[1] = np.float32(1 / 255) * np.float32(0.999)
    made = Gaussians(
        rng.uniform(-0.6, 0.6, (count, 3)).astype(np.float32),
        rng.normal(size=(count, 4)).astype(np.float32),
        np.exp(rng.uniform(-4, -1, (count, 3))).astype(np.float32),
        opacities,
        rng.normal(size=(count, 1, 3)).astype(np.float32),
    )
    kept = visible_gaussians(made)
    assert len(kept.opacities) == int((opacities.astype(np.float64) >= 1 / 255).sum()) < count
    spare = count - len(kept.opacities)  # of no opacity, so that one program draws both
    padded = Gaussians(*(np.pad(leaf, [(0, spare)] + [(0, 0)] * (leaf.ndim - 1)) for leaf in kept))
    directions = rng.normal(size=(20, 3))
    positions = 2.7 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    cameras = Cameras(
        look_at(positions).astype(np.float32), np.tile(intrinsics_from_fov(50.0), (20, 1)).astype(np.float32)
    )
    draw = jax.jit(render_dense, static_argnames=("height", "width"))
    whole, pruned = (np.asarray(draw(one, cameras, height=24, width=24).image) for one in (made, padded))
    assert np.ptp(whole) > 0.3
    np.testing.assert_allclose(pruned, whole, atol=1e-6)
