"""Gaussians that are left out of renderings of the loss, and what denoised views contribute."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views, orbit
from diffgs_jax.models import Batch
from diffgs_jax.models.contributions import by_noise, faint_line, of_denoised_views, shares
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, GaussianConfig, LossConfig, NetworkConfig, losses
from diffgs_jax.models.diffusion_gs import family as diffusion_gs
from diffgs_jax.models.diffusion_gs.decoding import views_of_gaussians
from diffgs_jax.models.diffusion_gs.denoiser import predict_gaussians
from diffgs_jax.models.diffusion_gs.supervision import choose_supervised, own_loss, shown_gaussians
from diffgs_jax.rasterizer import render_dense

NETWORK = NetworkConfig(width=16, layers=1, heads=2, patch_size=8, stride=4)
OWNERS = views_of_gaussians(NETWORK, 3, 16, 16)
BATCH, SIDE = 4, 16


def config_of(**settings):
    return DiffusionGSConfig(
        network=NETWORK,
        gaussians=GaussianConfig(scale_offset=-2.0, opacity_offset=0.0),
        losses=LossConfig(**settings),
    )


def make_views(count, conditions, seed=0):
    rng = np.random.default_rng(seed)
    cameras = orbit(rng.uniform(0, 360, count))
    cameras = Cameras(*(np.tile(leaf, (BATCH, *(1,) * leaf.ndim)) for leaf in cameras))
    flags = np.arange(count) < np.full((BATCH, 1), conditions)
    images = rng.random((BATCH, count, SIDE, SIDE, 3), np.float32)
    return Views(images, cameras, flags, np.full(BATCH, OBJECT, np.int32), images[..., 0])


INPUTS, NOVEL = make_views(3, 1), make_views(2, 0, seed=1)


def masks(**settings):
    config = LossConfig(**settings)
    supervised = choose_supervised(config, INPUTS, NOVEL, jax.random.key(1))
    shown = shown_gaussians(config, INPUTS, supervised, OWNERS, jax.random.key(2))
    return None if shown is None else np.asarray(shown), np.asarray(supervised.order)


def of_view(view):
    return OWNERS == view


def test_gaussians_know_their_views():
    assert OWNERS.tolist() == [-1, -1] + [0] * 16 + [1] * 16 + [2] * 16


def test_nothing_is_left_out_by_default():
    assert masks()[0] is None


def test_the_conditions_gaussians_are_left_out_of_all_renderings_of_a_part_of_the_samples():
    shown, _ = masks(leave_out_conditions=1.0)
    assert not shown[:, :, of_view(0)].any() and shown[:, :, ~of_view(0)].all()
    shown, _ = masks(leave_out_conditions=0.5)
    left_out = ~shown[:, :, of_view(0)]
    assert (left_out.all(axis=(1, 2)) | ~left_out.any(axis=(1, 2))).all() and 0 < left_out.mean() < 1


@pytest.mark.parametrize("with_conditions", [False, True])
def test_a_noisy_view_is_rendered_without_its_own_gaussians(with_conditions):
    shown, order = masks(leave_out_own=1.0, leave_out_own_and_conditions=with_conditions)
    for sample in range(BATCH):
        for place, view in enumerate(order[sample]):
            expected = np.ones(len(OWNERS), bool)
            if view > 0:
                expected = ~of_view(view) & ~(of_view(0) & with_conditions)
            np.testing.assert_array_equal(shown[sample, place], expected)
    assert shown[:, 3:].all()  # novel views are nobody's own


def test_half_of_the_noisy_views_are_rendered_whole():
    shown, _ = masks(leave_out_own=0.5)
    assert 0 < shown[:, :2].all(axis=-1).mean() < 1


def test_a_view_is_never_rendered_of_free_gaussians_alone():
    config, one = LossConfig(leave_out_own=1.0, leave_out_conditions=1.0), make_views(1, 0)
    supervised = choose_supervised(config, one, NOVEL, jax.random.key(0))
    owners = views_of_gaussians(NETWORK, 1, SIDE, SIDE)
    assert np.asarray(shown_gaussians(config, one, supervised, owners, jax.random.key(0))).all()


@pytest.fixture(scope="module")
def params():
    return jax.jit(functools.partial(diffusion_gs.init, config_of()))(jax.random.key(0))


@functools.partial(jax.jit, static_argnums=0)
def metrics_of(config, params):
    batch = Batch(INPUTS, NOVEL, np.zeros(BATCH, np.int32))
    return losses.loss(config, params, {}, batch, jax.random.key(4), jnp.int32(20))


@pytest.mark.slow
def test_the_loss_says_what_each_term_and_share_is(params):
    plain, before = metrics_of(config_of(), params)
    settings = {"own": 0.5, "leave_out_own": 1.0, "leave_out_conditions": 0.5, "log_shares": True}
    value, metrics = metrics_of(config_of(**settings), params)
    assert not {name for name in before if name.startswith("denoised_") or name == "own"}
    np.testing.assert_allclose(value, metrics["denoise"] + metrics["novel"] + 0.5 * metrics["own"], rtol=1e-6)
    assert metrics["denoise"] != before["denoise"] and plain != value
    for name in ("denoised_opacity", "denoised_weight"):
        parts = [float(metrics[f"{name}{label}"]) for label in ("", "_low_noise", "_middle_noise", "_high_noise")]
        assert all(0.4 < part < 0.95 for part in parts)  # an untrained network: about two of three views
    warm = metrics_of(config_of(distance_warmup=30, **settings), params)[1]
    assert warm.keys() == metrics.keys() and warm["own"] == warm["denoised_weight"] == 0


@pytest.mark.slow
def test_own_supervision_renders_each_view_of_its_own_gaussians(params):
    config = config_of(own=1.0)
    predict = jax.jit(functools.partial(predict_gaussians, config))
    gaussians = predict(params, INPUTS, np.zeros(BATCH, np.int32))
    supervised = choose_supervised(config.losses, INPUTS, NOVEL, jax.random.key(1))
    shoot = jax.jit(functools.partial(render_dense, height=SIDE, width=SIDE))
    total = 0.0
    for sample in range(BATCH):
        for view in (1, 2):
            alone = Gaussians(*(leaf[sample, of_view(view)] for leaf in gaussians))
            camera = Cameras(*(np.asarray(leaf)[sample, view] for leaf in INPUTS.cameras))
            total += np.mean((shoot(alone, camera).image - INPUTS.images[sample, view]) ** 2) / (2 * BATCH)
    found = jax.jit(functools.partial(own_loss, config))(gaussians, supervised)
    np.testing.assert_allclose(found, total, rtol=1e-4)


@pytest.mark.slow
def test_shares_are_those_of_known_gaussians():
    """A solid ball hides a fainter one behind it from one side, and is hidden by it from the other."""
    cameras = orbit(np.array([0.0, 180.0]), elevation_degrees=0.0)
    balls = Gaussians(
        means=np.array([[[0.5, 0, 0], [-0.5, 0, 0]]], np.float32),
        rotations=np.tile(np.array([1.0, 0, 0, 0], np.float32), (1, 2, 1)),
        scales=np.full((1, 2, 3), 1e-4, np.float32),
        opacities=np.array([[0.9, 0.3]], np.float32),
        sh=np.zeros((1, 2, 1, 3), np.float32),
    )
    cameras = Cameras(*(np.asarray(leaf)[None] for leaf in cameras))
    found = jax.jit(functools.partial(shares, resolution=15))(balls, np.array([[False, True]]), cameras)
    assert float(found.opacity[0]) == pytest.approx(0.25)
    # Both are dots of the same shape in the middle pixels: α of the fainter is a third of the other's there.
    front, back = np.asarray(found.weight[0])
    middle = (0.1 * 0.3) / (0.9 + 0.1 * 0.3), 0.3 / (0.3 + 0.7 * 0.9)
    assert middle[0] < front < 0.25 and 0.25 < back <= middle[1] + 1e-3


def test_means_by_noise_stand_in_where_a_third_has_no_sample():
    found = by_noise("x", jnp.array([0.2, 0.4, 0.9]), jnp.array([True, True, False]), jnp.array([0, 999, 500]), 1000)
    found = {name: float(value) for name, value in found.items()}
    assert found == pytest.approx({"x": 0.3, "x_low_noise": 0.2, "x_middle_noise": 0.3, "x_high_noise": 0.4})


def test_what_is_next_to_nothing_is_said_in_one_line():
    assert faint_line(0.1) is None
    assert faint_line(0.005).startswith("the denoised views' Gaussians hold 0.5% of the blending weight")
    chosen = of_denoised_views(OWNERS, np.array([[True, False, False]]))
    assert np.asarray(chosen)[0].tolist() == (OWNERS > 0).tolist()


def test_probabilities_are_checked():
    with pytest.raises(UserError, match=r"model.losses.leave_out_own must be in \[0, 1\], not 1.5"):
        losses.check_losses(LossConfig(leave_out_own=1.5))
