"""A view rendered without some Gaussians is the view of a set that never had them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import Gaussians, orbit
from diffgs_jax.rasterizer import render, render_dense, render_in_groups

COUNT, SIDE = 12, 16


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    shapes = [(COUNT, 3), (COUNT, 4), (COUNT, 3), (COUNT,), (COUNT, 1, 3)]
    means, rotations, scales, opacities, sh = (rng.uniform(-0.7, 0.7, shape).astype(np.float32) for shape in shapes)
    gaussians = Gaussians(means, rotations, np.abs(scales) * 0.3 + 0.05, np.abs(opacities) + 0.2, sh)
    shown = rng.random((3, COUNT)) < 0.5
    return gaussians, orbit(np.array([0.0, 100.0, 220.0])), shown


@functools.partial(jax.jit, static_argnums=0)
def graded(function, gaussians, cameras, shown):
    """Image, and the gradient of its mean square."""

    def square(gaussians):
        image = function(gaussians, cameras, height=SIDE, width=SIDE, shown=shown).image
        return jnp.mean(image**2), image

    (_, image), gradient = jax.value_and_grad(square, has_aux=True)(gaussians)
    return image, gradient


@pytest.mark.slow
def test_a_view_without_some_gaussians_is_that_of_the_others_alone(scene):
    gaussians, cameras, shown = scene
    images, gradient = graded(render, gaussians, cameras, shown)
    total = jax.tree.map(np.zeros_like, gaussians)
    for view in range(3):
        kept = Gaussians(*(leaf[shown[view]] for leaf in gaussians))
        alone = type(cameras)(*(np.asarray(leaf)[view : view + 1] for leaf in cameras))
        image, slope = graded(render_dense, kept, alone, None)
        np.testing.assert_allclose(images[view], image[0], atol=1e-5)
        for sums, values in zip(total, slope, strict=True):
            sums[shown[view]] += np.asarray(values) / 3
    for ours, theirs in zip(gradient, total, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.slow
def test_groups_of_views_are_shown_what_all_at_once_are(scene):
    gaussians, cameras, shown = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], scene)
    draw = jax.jit(functools.partial(render_in_groups, background=1.0, height=SIDE, width=SIDE), static_argnums=2)
    all_at_once = draw(gaussians, cameras, 0, shown=shown)
    np.testing.assert_array_equal(draw(gaussians, cameras, 2, shown=shown).image, all_at_once.image)


def test_a_mask_of_another_shape_is_refused(scene):
    gaussians, cameras, shown = scene
    with pytest.raises(ValueError, match=r"shown must be \[3, 12\], not \[2, 12\]"):
        render(gaussians, cameras, height=SIDE, width=SIDE, shown=shown[:2])
