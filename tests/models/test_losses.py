"""The terms of the loss against their formulas, written out in numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import OBJECT, SCENE, Cameras, Gaussians, Views, orbit
from diffgs_jax.models import diffusion_gs
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, GaussianConfig, LossConfig, NetworkConfig, losses
from diffgs_jax.rasterizer import render

CONFIG = DiffusionGSConfig(
    network=NetworkConfig(width=16, layers=1, heads=2, patch_size=8, stride=4, domains=("object", "scene")),
    gaussians=GaussianConfig(scale_offset=-2.0, opacity_offset=0.0),
    losses=LossConfig(alpha=0.5, novel=2.0, distance_warmup=10),
)


def make_views(count, seed=0, batch=2, domain=OBJECT, flags=None):
    rng = np.random.default_rng(seed)
    cameras = orbit(rng.uniform(0, 360, count))
    cameras = Cameras(*(np.tile(leaf, (batch, *(1,) * leaf.ndim)) for leaf in cameras))
    flags = np.zeros((batch, count), bool) if flags is None else flags
    return Views(
        rng.random((batch, count, 16, 16, 3), np.float32), cameras, flags, np.full(batch, domain, np.int32),
        rng.random((batch, count, 16, 16), np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def params():
    return diffusion_gs.init(CONFIG, jax.random.key(0))


def first_is_condition(batch=2, count=3):
    flags = np.zeros((batch, count), bool)
    flags[:, 0] = True
    return flags


def test_distance_loss_is_the_published_formula(params):
    views = make_views(3)
    gaussians = diffusion_gs.predict_gaussians(CONFIG, params, views, np.zeros(2, np.int32), training=True)
    means = np.asarray(gaussians.means)[:, CONFIG.network.free_gaussians :].reshape(2, 3, 16, 3)
    total = 0.0
    for sample in range(2):
        for view in range(3):
            origin = np.asarray(views.cameras.camera_to_world)[sample, view, :3, 3]
            length = np.linalg.norm(means[sample, view] - origin, axis=-1)
            target = (length - length.mean()) / (length.std() + 1e-8) * 0.5 + np.linalg.norm(origin)
            total += np.mean((length - target) ** 2) / 6
    np.testing.assert_allclose(losses.distance_loss(CONFIG, gaussians, views), total, rtol=1e-4)


def test_scenes_have_no_distance_loss(params):
    views = make_views(3, domain=SCENE)
    gaussians = Gaussians(*(jnp.ones(shape) for shape in [(2, 50, 3), (2, 50, 4), (2, 50, 3), (2, 50), (2, 50, 1, 3)]))
    assert losses.distance_loss(CONFIG, gaussians, views) == 0.0


def test_the_warm_up_is_distance_alone_and_then_rendering_alone(params):
    inputs, novel = make_views(3, flags=first_is_condition()), make_views(2, seed=1)
    key = jax.random.key(3)
    warm, warm_terms = losses.loss(CONFIG, params, {}, inputs, novel, key, jnp.int32(9))
    after, terms = losses.loss(CONFIG, params, {}, inputs, novel, key, jnp.int32(10))
    np.testing.assert_allclose(warm, warm_terms["distance"])
    assert warm_terms["denoise"] == warm_terms["novel"] == warm_terms["alpha"] == terms["distance"] == 0
    np.testing.assert_allclose(after, terms["denoise"] + 2.0 * terms["novel"] + 0.5 * terms["alpha"], rtol=1e-6)


def test_rendering_losses_are_means_over_the_views_they_cover():
    targets = make_views(3, seed=4)
    rng = np.random.default_rng(5)
    gaussians = Gaussians(*(jnp.asarray(rng.uniform(0.1, 0.6, shape), jnp.float32) for shape in [
        (2, 9, 3), (2, 9, 4), (2, 9, 3), (2, 9), (2, 9, 1, 3)
    ]))  # fmt: skip
    weights = np.zeros((2, 2, 3), np.float32)
    weights[0, :, 0], weights[1, :, 1:] = 1 / 2, 1 / 4
    terms = losses.rendering_losses(CONFIG, gaussians, targets, jnp.asarray(weights))
    rendering = render(gaussians, targets.cameras, height=16, width=16)
    squared = np.mean((np.asarray(rendering.image) - targets.images) ** 2, axis=(2, 3, 4))
    coverage = np.mean((np.asarray(rendering.alpha) - targets.alphas) ** 2, axis=(2, 3))
    np.testing.assert_allclose(terms["denoise"], squared[:, 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["novel"], squared[:, 1:].mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["alpha"], coverage[:, 0].mean() + 2 * coverage[:, 1:].mean(), rtol=1e-5)


def test_condition_views_are_found_by_flag_and_not_supervised(params):
    """The supervised noisy views are the noisy ones, wherever in the list the condition stands."""
    config = dataclasses.replace(CONFIG, losses=LossConfig(supervised_noisy_views=2))
    novel = make_views(1, seed=1)
    for position in range(3):
        flags = np.zeros((2, 3), bool)
        flags[:, position] = True
        inputs = make_views(3, flags=flags)
        images = np.arange(3, dtype=np.float32)[None, :, None, None, None] * np.ones_like(inputs.images)
        targets, weights = losses._supervision(config, inputs._replace(images=images), novel, jax.random.key(0))
        chosen = np.sort(np.asarray(targets.images)[:, :2, 0, 0, 0], axis=1)
        np.testing.assert_array_equal(chosen, [[view for view in range(3) if view != position]] * 2)
        np.testing.assert_allclose(weights[0], [[0.25, 0.25, 0.0]] * 2)
        np.testing.assert_allclose(weights[1], [[0.0, 0.0, 0.5]] * 2)


def test_gradients_are_finite_and_reach_every_part_but_the_other_decoder(params):
    inputs, novel = make_views(3, flags=first_is_condition()), make_views(2, seed=1)
    # Zero gates hide the trunk at the start: look at it with weights that have moved.
    keys = iter(jax.random.split(jax.random.key(7), 200))
    moved = jax.tree.map(lambda leaf: leaf + 0.02 * jax.random.normal(next(keys), leaf.shape), params)
    gradients = jax.grad(lambda p: losses.loss(CONFIG, p, {}, inputs, novel, jax.random.key(3), jnp.int32(99))[0])(
        moved
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), name
        assert bool(jnp.any(leaf != 0)) == ("scene" not in name), name


def test_the_denoiser_keeps_condition_views_clean(params):
    views = make_views(3, flags=first_is_condition())
    noise = jax.random.normal(jax.random.key(0), views.images.shape)
    x0, gaussians = diffusion_gs.denoiser(CONFIG, params, views)(noise, jnp.full(2, 500))
    np.testing.assert_array_equal(x0[:, 0], views.images[:, 0])
    rendering = render(gaussians, views.cameras, height=16, width=16)
    np.testing.assert_allclose(x0[:, 1:], rendering.image[:, 1:], atol=1e-6)
    # What stands in x_t at a condition view is not read.
    other = noise.at[:, 0].set(0.0)
    np.testing.assert_array_equal(diffusion_gs.denoiser(CONFIG, params, views)(other, jnp.full(2, 500)).x0, x0)
