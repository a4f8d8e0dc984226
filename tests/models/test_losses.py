"""The terms of the loss against their formulas, written out in numpy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from diffgs_jax.diffusion import add_noise, initial_state, make_sampler, make_schedule, sampler_step
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, SCENE, Cameras, Gaussians, Views, orbit
from diffgs_jax.models import Batch
from diffgs_jax.models.diffusion_gs import (
    DiffusionConfig,
    DiffusionGSConfig,
    GaussianConfig,
    LossConfig,
    NetworkConfig,
    losses,
)
from diffgs_jax.models.diffusion_gs import family as diffusion_gs
from diffgs_jax.models.diffusion_gs.denoiser import predict_gaussians
from diffgs_jax.models.diffusion_gs.supervision import choose_supervised
from diffgs_jax.models.losses import perceptual_distance, rendering_losses, renderings
from diffgs_jax.rasterizer import Rendering, render, render_in_groups

CONFIG = DiffusionGSConfig(
    network=NetworkConfig(width=16, layers=1, heads=2, patch_size=8, stride=4, domains=("object", "scene")),
    gaussians=GaussianConfig(scale_offset=-2.0, opacity_offset=0.0),
    losses=LossConfig(alpha=0.5, novel=2.0, distance_warmup=10),
)


@functools.partial(jax.jit, static_argnums=0)
def terms_of(config, gaussians, targets, weights, frozen=None):
    settings = config.losses
    terms, names = losses.term_weights(settings, 0), losses.further_terms(settings)
    return rendering_losses(gaussians, targets, weights, terms, names, background=config.background, frozen=frozen)


@functools.partial(jax.jit, static_argnums=0)
def loss_of(config, params, inputs, targets, key, step):
    batch = Batch(inputs, targets, np.zeros(len(inputs.domain), np.int32))
    return losses.loss(config, params, {}, batch, key, step)


@jax.jit
def denoised(params, views, noise, timesteps):
    condition = diffusion_gs.Condition(views, views.images)
    return diffusion_gs.denoiser(CONFIG, params, {}, condition)(noise, timesteps)


def denoiser_of(params, views):
    return functools.partial(denoised, params, views)


shoot = jax.jit(functools.partial(render, height=16, width=16))


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
    return jax.jit(functools.partial(diffusion_gs.init, CONFIG))(jax.random.key(0))


def first_is_condition(batch=2, count=3):
    flags = np.zeros((batch, count), bool)
    flags[:, 0] = True
    return flags


@pytest.mark.slow
def test_distance_loss_is_the_published_formula(params):
    views = make_views(3)
    predict = jax.jit(functools.partial(predict_gaussians, CONFIG, training=True))
    gaussians = predict(params, views, np.zeros(2, np.int32))
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


@pytest.mark.slow
def test_the_warm_up_is_distance_alone_and_then_rendering_alone(params):
    inputs, novel = make_views(3, flags=first_is_condition()), make_views(2, seed=1)
    key = jax.random.key(3)
    warm, warm_terms = loss_of(CONFIG, params, inputs, novel, key, jnp.int32(9))
    after, terms = loss_of(CONFIG, params, inputs, novel, key, jnp.int32(10))
    np.testing.assert_allclose(warm, warm_terms["distance"])
    assert warm_terms["denoise"] == warm_terms["novel"] == warm_terms["alpha"] == terms["distance"] == 0
    np.testing.assert_allclose(after, terms["denoise"] + 2.0 * terms["novel"] + 0.5 * terms["alpha"], rtol=1e-6)


def first_denoised_others_novel():
    weights = np.zeros((2, 2, 3), np.float32)
    weights[0, :, 0], weights[1, :, 1:] = 1 / 2, 1 / 4
    return weights


def random_gaussians(count=9):
    rng = np.random.default_rng(5)
    shapes = [(2, count, 3), (2, count, 4), (2, count, 3), (2, count), (2, count, 1, 3)]
    return Gaussians(*(jnp.asarray(rng.uniform(0.1, 0.6, shape), jnp.float32) for shape in shapes))


@pytest.mark.slow
def test_rendering_losses_are_means_over_the_views_they_cover():
    targets = make_views(3, seed=4)
    gaussians = random_gaussians()
    weights = first_denoised_others_novel()
    terms = terms_of(CONFIG, gaussians, targets, jnp.asarray(weights))
    rendering = shoot(gaussians, targets.cameras)
    squared = np.mean((np.asarray(rendering.image) - targets.images) ** 2, axis=(2, 3, 4))
    coverage = np.mean((np.asarray(rendering.alpha) - targets.alphas) ** 2, axis=(2, 3))
    np.testing.assert_allclose(terms["denoise"], squared[:, 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["novel"], squared[:, 1:].mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["alpha"], coverage[:, 0].mean() + 2 * coverage[:, 1:].mean(), rtol=1e-5)


def mean_difference(weights, a, b, precision):
    """Stands in for LPIPS."""
    return weights["factor"] * jnp.mean(jnp.abs(a - b), axis=(1, 2, 3))


def test_some_pictures_estimate_what_all_of_them_say(monkeypatch):
    monkeypatch.setattr(renderings, "lpips", mean_difference)
    rng = np.random.default_rng(3)
    a, b, shares = rng.random((2, 3, 4, 4, 3)), rng.random((2, 3, 4, 4, 3)), jnp.asarray(rng.random((2, 3)))

    def distance(pictures, key):
        return perceptual_distance({"factor": 2.0}, jnp.asarray(a), b, shares, pictures, key)

    estimates = jax.vmap(functools.partial(distance, 2))(jax.random.split(jax.random.key(0), 2000))
    deviation = np.std(estimates) / np.sqrt(len(estimates))
    assert deviation > 0
    assert abs(np.mean(estimates) - distance(0, None)) < 5 * deviation


@pytest.mark.slow
def test_groups_of_views_are_rendered_like_all_of_them():
    cameras = make_views(4, seed=4).cameras
    background = jnp.asarray(np.random.default_rng(0).random((2, 4, 3), np.float32))

    def image(gaussians, at_once):
        return render_in_groups(gaussians, cameras, at_once, background=background, height=16, width=16)

    @functools.partial(jax.jit, static_argnums=1)
    def value_and_gradients(gaussians, at_once):
        return jax.value_and_grad(lambda g: jnp.sum(image(g, at_once).image ** 2))(gaussians)

    gaussians = random_gaussians()
    expected, actual = value_and_gradients(gaussians, 0), value_and_gradients(gaussians, 3)  # does not divide four
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), actual, expected)


@pytest.mark.slow
def test_further_terms_are_weighed_like_the_colours(monkeypatch):
    """LPIPS by a stand-in, SSIM by scikit-image, depth by its formula: sums over L_de + 2 L_nv."""
    targets = make_views(3, seed=4)
    depths = np.random.default_rng(6).uniform(1, 4, targets.alphas.shape).astype(np.float32)
    depths[:, 1, :7] = np.nan
    depths[0, 2] = np.nan  # a view without any
    settings = LossConfig(novel=2.0, perceptual=0.3, ssim=0.2, depth=0.1)
    config = dataclasses.replace(CONFIG, losses=settings)
    gaussians, weights = random_gaussians(), first_denoised_others_novel()
    monkeypatch.setattr(renderings, "lpips", mean_difference)
    terms = terms_of(
        config, gaussians, targets._replace(depths=depths), jnp.asarray(weights), frozen={"lpips": {"factor": 3.0}}
    )
    rendering = Rendering(*(None if leaf is None else np.asarray(leaf) for leaf in shoot(gaussians, targets.cameras)))
    both = weights[0] + 2 * weights[1]
    perceptual = 3 * np.mean(np.abs(rendering.image - targets.images), axis=(2, 3, 4))
    np.testing.assert_allclose(terms["perceptual"], np.sum(both * perceptual), rtol=1e-5)
    structural = [
        [
            structural_similarity(
                a, b, gaussian_weights=True, use_sample_covariance=False, data_range=1, channel_axis=-1
            )
            for a, b in zip(*pair, strict=True)
        ]
        for pair in zip(rendering.image.astype(np.float64), targets.images.astype(np.float64), strict=True)
    ]
    np.testing.assert_allclose(terms["ssim"], np.sum(both * (1 - np.asarray(structural))), rtol=1e-4)
    with np.errstate(invalid="ignore"):
        seen = np.where(rendering.alpha < 1 / 255, 0, rendering.depth / np.maximum(rendering.alpha, 1 / 255))
        relative = rendering.alpha * np.abs(seen - depths) / depths
    known = np.maximum(np.sum(~np.isnan(depths), axis=(2, 3)), 1)
    np.testing.assert_allclose(terms["depth"], np.sum(both * np.nansum(relative, axis=(2, 3)) / known), rtol=1e-4)


@pytest.mark.slow
def test_unknown_depth_leaves_gradients_finite_and_known_depth_pulls():
    targets = make_views(1, seed=4)
    depths = np.full(targets.alphas.shape, np.nan, np.float32)
    depths[:, :, 4:12, 4:12] = 5.0
    weights = jnp.stack([jnp.full((2, 1), 0.5), jnp.zeros((2, 1))])
    config = dataclasses.replace(CONFIG, losses=LossConfig(depth=1.0))
    gaussians = random_gaussians()

    def depth(shift, depths):
        moved = gaussians._replace(means=gaussians.means + shift[None, None])
        return terms_of(config, moved, targets._replace(depths=depths), weights)["depth"]

    pulled = jax.jit(jax.grad(depth))
    gradient = pulled(jnp.zeros(3), depths)
    assert np.all(np.isfinite(gradient))
    # They are nearer than 5: the error falls when they go along the view's axis.
    assert gradient @ targets.cameras.camera_to_world[0, 0, :3, 2] < 0
    np.testing.assert_array_equal(pulled(jnp.zeros(3), np.full_like(depths, np.nan)), 0)


@pytest.mark.slow
def test_the_perceptual_term_has_a_gradient():
    """AlexNet with few features and random weights; the real ones are held against the original elsewhere."""
    rng = np.random.default_rng(0)
    sides, widths = [11, 5, 3, 3, 3], [3, 4, 4, 4, 4, 4]
    network = {
        "kernels": tuple(
            rng.normal(0, 0.3, (side, side, *widths[i : i + 2])).astype(np.float32) for i, side in enumerate(sides)
        ),
        "biases": (np.zeros(4, np.float32),) * 5,
        "heads": (np.ones(4, np.float32),) * 5,
    }
    targets = make_views(1, seed=4)
    targets = targets._replace(images=rng.random((2, 1, 32, 32, 3), np.float32), alphas=None)
    weights = jnp.stack([jnp.full((2, 1), 0.5), jnp.zeros((2, 1))])
    config = dataclasses.replace(CONFIG, losses=LossConfig(perceptual=1.0))

    @jax.jit
    def perceptual(gaussians):
        return terms_of(config, gaussians, targets, weights, frozen={"lpips": network})["perceptual"]

    gradients = jax.jit(jax.grad(perceptual))(random_gaussians())
    assert all(np.all(np.isfinite(leaf)) for leaf in gradients)
    assert all(np.any(leaf != 0) for leaf in (gradients.means, gradients.opacities, gradients.sh))


def test_frozen_weights_are_read_only_when_needed_and_missed_with_a_command(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFGS_JAX_CACHE", str(tmp_path))
    assert diffusion_gs.load_frozen(CONFIG, "training") == {}
    with pytest.raises(UserError, match="scripts/fetch_lpips.py"):
        diffusion_gs.load_frozen(dataclasses.replace(CONFIG, losses=LossConfig(perceptual=0.1)), "training")


def test_condition_views_are_found_by_flag_and_not_supervised(params):
    """The supervised noisy views are the noisy ones, wherever in the list the condition stands."""
    config = dataclasses.replace(CONFIG, losses=LossConfig(supervised_noisy_views=2))
    novel = make_views(1, seed=1)
    for position in range(3):
        flags = np.zeros((2, 3), bool)
        flags[:, position] = True
        inputs = make_views(3, flags=flags)
        images = np.arange(3, dtype=np.float32)[None, :, None, None, None] * np.ones_like(inputs.images)
        supervised = choose_supervised(config.losses, inputs._replace(images=images), novel, jax.random.key(0))
        targets, weights = supervised.targets, supervised.weights
        chosen = np.sort(np.asarray(targets.images)[:, :2, 0, 0, 0], axis=1)
        np.testing.assert_array_equal(chosen, [[view for view in range(3) if view != position]] * 2)
        np.testing.assert_allclose(weights[0], [[0.25, 0.25, 0.0]] * 2)
        np.testing.assert_allclose(weights[1], [[0.0, 0.0, 0.5]] * 2)


@pytest.mark.slow
def test_gradients_are_finite_and_reach_every_part_but_the_other_decoder(params):
    inputs, novel = make_views(3, flags=first_is_condition()), make_views(2, seed=1)
    # Zero gates hide the trunk at the start: look at it with weights that have moved.
    keys = iter(jax.random.split(jax.random.key(7), 200))
    moved = jax.tree.map(lambda leaf: leaf + 0.02 * jax.random.normal(next(keys), leaf.shape), params)
    gradient = jax.jit(jax.grad(lambda p: loss_of(CONFIG, p, inputs, novel, jax.random.key(3), jnp.int32(99))[0]))
    gradients = gradient(moved)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), name
        assert bool(jnp.any(leaf != 0)) == ("scene" not in name), name


@pytest.mark.slow
def test_the_denoiser_keeps_condition_views_clean(params):
    views = make_views(3, flags=first_is_condition())
    noise = jax.random.normal(jax.random.key(0), views.images.shape)
    x0, gaussians = denoiser_of(params, views)(noise, jnp.full(2, 500))
    np.testing.assert_array_equal(x0[:, 0], views.images[:, 0])
    rendering = shoot(gaussians, views.cameras)
    np.testing.assert_allclose(x0[:, 1:], rendering.image[:, 1:], atol=1e-6)
    # What stands in x_t at a condition view is not read.
    other = noise.at[:, 0].set(0.0)
    np.testing.assert_array_equal(denoiser_of(params, views)(other, jnp.full(2, 500)).x0, x0)


@pytest.mark.long
def test_scheduled_sampling_is_what_ddim_hands_to_its_second_step(params):
    """Gradients apart, a batch of them is a batch whose clean views are those of the sampler's first step."""
    views, novel = make_views(3, flags=first_is_condition()), make_views(2, seed=1)
    key, step = jax.random.key(3), jnp.int32(99)
    denoise = denoiser_of(params, views)
    noise = jax.random.normal(jax.random.split(key, 3)[1], views.images.shape)
    sampler = make_sampler(make_schedule(CONFIG.diffusion.schedule), "ddim", 4)
    first = sampler_step(denoise, sampler, 0, initial_state(denoise, sampler, noise))
    schedule = make_schedule(CONFIG.diffusion.schedule)
    second = add_noise(schedule, first.prediction.x0, jnp.full(2, sampler.timesteps[1]), noise)
    np.testing.assert_allclose(second[:, 1:], first.x[:, 1:], atol=1e-4)

    own = dataclasses.replace(CONFIG, diffusion=DiffusionConfig(scheduled_sampling=1.0))
    seen = []

    def predict(noisy, at, training):
        seen.append((noisy, at, training))
        return denoise(noisy, at).aux

    predicted = losses.first_prediction(own, predict, views, noise)
    np.testing.assert_allclose(predicted[:, 1:], first.prediction.x0[:, 1:], atol=1e-6)
    assert [at.tolist() for _, at, _ in seen] == [[999, 999]]

    # The network sees nothing of the true noisy views: with other ones only the targets, and so the loss, differ.
    gradient = jax.jit(
        jax.grad(lambda config, p: loss_of(config, p, views, novel, key, step)[0], argnums=1), static_argnums=0
    )
    plain, changed = gradient(CONFIG, params), gradient(own, params)
    assert any(bool(jnp.any(a != b)) for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(changed), strict=True))
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(changed))
    dark = views._replace(images=np.where(views.is_condition[..., None, None, None], views.images, 0.0))
    values = [loss_of(own, params, given, novel, key, step)[1]["novel"] for given in (views, dark)]
    assert values[0] == values[1]
