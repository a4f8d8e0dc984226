"""Properties that any DiffusionGS denoiser must have, whatever its weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, SCENE, Views, orbit, pixel_rays, sh_to_color
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, DistanceLaw, GaussianConfig, NetworkConfig
from diffgs_jax.models.diffusion_gs import family as diffusion_gs
from diffgs_jax.models.diffusion_gs.decoding import decode, ray_distance, split_views
from diffgs_jax.models.diffusion_gs.denoiser import param_shapes, predict_gaussians, raw_gaussians
from diffgs_jax.models.diffusion_gs.splitting import split_gaussians

SMALL = NetworkConfig(width=32, layers=2, heads=2, mlp_ratio=2, patch_size=4, stride=2)
PUBLISHED = GaussianConfig()

# These programs run once on a handful of pixels: compiling them well would take longer than everything else.
jit = jax.jit
raw_gaussians = jit(raw_gaussians, static_argnums=0)
predict_gaussians = jit(predict_gaussians, static_argnums=0, static_argnames="training")


def make(gaussians=PUBLISHED, **changes):
    config = DiffusionGSConfig(network=dataclasses.replace(SMALL, **changes), gaussians=gaussians)
    random = np.random.default_rng(0)
    draw = lambda leaf: random.normal(scale=0.1, size=leaf.shape).astype(np.float32)  # noqa: E731
    return config, jax.tree.map(draw, param_shapes(config))


def make_views(batch=2, count=3, height=8, width=12, domain=OBJECT, conditions=(0,)):
    cameras = orbit(np.arange(count) * 360.0 / count)
    cameras = jax.tree.map(lambda leaf: np.tile(leaf[None], (batch, *(1,) * leaf.ndim)), cameras)
    images = np.random.default_rng(0).uniform(size=(batch, count, height, width, 3)).astype(np.float32)
    is_condition = np.zeros((batch, count), bool)
    is_condition[:, list(conditions)] = True
    return Views(images, cameras, is_condition, np.full((batch,), domain, np.int32))


TIMES = np.asarray([10, 900], np.int32)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_gaussians_lie_on_the_rays_of_their_pixels(stride):
    config, params = make(stride=stride)
    views = make_views()
    means = raw_gaussians(config, params, views, TIMES).means
    assert means.shape == (2, 2 + 3 * (8 // stride) * (12 // stride), 3)
    grid = np.asarray(split_views(config.network, means, 8, 12))
    rays = pixel_rays(views.cameras, 8 // stride, 12 // stride)
    offsets = grid - np.asarray(rays.origins)
    assert np.abs(np.cross(offsets, np.asarray(rays.directions))).max() < 1e-5
    along = np.sum(grid * np.asarray(rays.directions), axis=-1)
    assert np.abs(along).max() < config.gaussians.object_distance.reach + 1e-5


@pytest.mark.parametrize("changes", [{}, {"ray_embedding": "plucker", "condition_channel": False, "sh_degree": 2}])
def test_reordering_views_reorders_gaussians(changes):
    config, params = make(**changes)
    views, order = make_views(), np.asarray([2, 0, 1])
    shuffled = views._replace(
        images=views.images[:, order],
        cameras=jax.tree.map(lambda leaf: leaf[:, order], views.cameras),
        is_condition=views.is_condition[:, order],
    )
    before, after = (predict_gaussians(config, params, v, TIMES) for v in (views, shuffled))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a[:, :2], b[:, :2], atol=1e-5)
        a, b = (np.asarray(x[:, 2:]).reshape(2, 3, -1) for x in (a, b))
        np.testing.assert_allclose(a[:, order], b, atol=1e-5)


def test_samples_do_not_see_each_other():
    config, params = make()
    views = make_views()
    alone = jax.tree.map(lambda leaf: leaf[1:], views)
    together = predict_gaussians(config, params, views, TIMES)
    for a, b in zip(together, predict_gaussians(config, params, alone, TIMES[1:]), strict=True):
        np.testing.assert_allclose(a[1:], b, atol=1e-5)


@pytest.mark.parametrize("conditions", [(), (1,), (0, 1, 2)])
def test_any_number_of_condition_views(conditions):
    config, params = make()
    gaussians = predict_gaussians(config, params, make_views(conditions=conditions), TIMES)
    assert all(np.isfinite(leaf).all() for leaf in gaussians)


def test_condition_flag_and_timestep_reach_the_gaussians():
    config, params = make()
    base = predict_gaussians(config, params, make_views(), TIMES)
    flagged = predict_gaussians(config, params, make_views(conditions=(1,)), TIMES)
    later = predict_gaussians(config, params, make_views(), TIMES + 50)
    assert np.abs(np.asarray(base.sh - flagged.sh)).max() > 1e-6
    assert np.abs(np.asarray(base.sh - later.sh)).max() > 1e-6


@pytest.mark.slow
def test_a_decoder_learns_from_its_own_domain_only():
    config, params = make(domains=("object", "scene"))
    views = make_views()

    def total(params, domain):
        gaussians = predict_gaussians(config, params, views._replace(domain=domain), TIMES)
        return sum(jnp.sum(leaf**2) for leaf in gaussians)

    gradients = jit(jax.grad(total))
    only_objects = gradients(params, np.asarray([OBJECT, OBJECT], np.int32))
    mixed = gradients(params, np.asarray([OBJECT, SCENE], np.int32))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(only_objects["decoders"]["scene"]))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(only_objects["decoders"]["object"]))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(mixed["decoders"]["scene"]))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(mixed["trunk"]))


@pytest.mark.parametrize(("domain", "number"), [("object", OBJECT), ("scene", SCENE)])
def test_two_decoders_act_as_one_of_each(domain, number):
    both, params = make(domains=("object", "scene"))
    one = dataclasses.replace(both, network=dataclasses.replace(both.network, domains=(domain,)))
    kept = params | {"decoders": {domain: params["decoders"][domain]}}
    views = make_views(domain=number)
    for a, b in zip(
        predict_gaussians(both, params, views, TIMES), predict_gaussians(one, kept, views, TIMES), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_colour_skip_changes_nothing_until_it_is_learned():
    config, params = make(stride=2)
    skipping = dataclasses.replace(config, network=dataclasses.replace(config.network, color_skip=True))
    new = diffusion_gs.init(skipping, jax.random.key(0))["decoders"]["object"]["color_skip"]
    decoders = {"object": params["decoders"]["object"] | {"color_skip": new}}
    for a, b in zip(
        raw_gaussians(config, params, make_views(), TIMES),
        raw_gaussians(skipping, params | {"decoders": decoders}, make_views(), TIMES),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_a_whole_share_of_a_pixels_colour_is_its_colour():
    network = dataclasses.replace(SMALL, color_skip=True, sh_degree=1)
    rays, colors = pixel_rays(make_views().cameras, 4, 6), jax.random.uniform(jax.random.key(1), (2, 3, 4, 6, 3))
    pixels = np.zeros((2, 3, 4, 6, 24), np.float32)
    pixels[..., -1] = 1.0
    raw = decode(network, PUBLISHED, jnp.zeros((2, 2, 23)), jnp.asarray(pixels), rays, np.zeros(2, np.int32), colors)
    seen = np.asarray(sh_to_color(raw.sh, raw.means, jnp.asarray([[0.3, -2.0, 0.5]] * 2)))
    np.testing.assert_allclose(seen[:, :2], 0.5)
    np.testing.assert_allclose(seen[:, 2:].reshape(colors.shape), colors, atol=1e-6)


def test_distance_laws_are_those_of_the_paper():
    a, along = jnp.asarray([-100.0, 0.0, 100.0]), jnp.full(3, -2.7)
    near_far = ray_distance(DistanceLaw(kind="near_far", near=0.1, far=4.2), a, along)
    np.testing.assert_allclose(near_far, [0.1, 2.15, 4.2], rtol=1e-6)
    reference = ray_distance(DistanceLaw(reach=1.8), a, along)
    np.testing.assert_allclose(reference, [0.9, 2.7, 4.5], rtol=1e-6)


def test_clipping_is_for_objects_in_training():
    config, params = make(gaussians=GaussianConfig(object_distance=DistanceLaw(kind="near_far", near=9.0, far=10.0)))
    views = make_views()
    trained = predict_gaussians(config, params, views, TIMES, training=True).means
    sampled = predict_gaussians(config, params, views, TIMES).means
    assert np.abs(sampled).max() > 5 and np.abs(trained).max() <= 1
    np.testing.assert_array_equal(trained, np.clip(sampled, -1, 1))


@pytest.mark.slow
def test_untrained_gaussians_are_where_the_settings_say():
    settings = GaussianConfig(scale_offset=-2.9, opacity_offset=-1.0, object_distance=DistanceLaw(reach=1.2))
    config, _ = make(gaussians=settings, width=128)
    params = diffusion_gs.init(config, jax.random.key(0))
    views = make_views()
    gaussians = predict_gaussians(config, params, views, TIMES)
    log_scales = np.log(np.asarray(gaussians.scales))
    assert abs(log_scales.mean() + 2.9) < 0.05 and log_scales.std() < 0.2
    logits = np.log(gaussians.opacities) - np.log1p(-np.asarray(gaussians.opacities))
    assert abs(logits.mean() + 1.0) < 0.05 and logits.std() < 0.2
    assert np.abs(0.282 * np.asarray(gaussians.sh)).max() < 0.2  # within 0.2 of mid grey
    assert (np.linalg.norm(gaussians.rotations, axis=-1) > 1e-4).all()
    grid = np.asarray(split_views(config.network, gaussians.means, 8, 12))
    along = np.sum(grid * np.asarray(pixel_rays(views.cameras, 4, 6).directions), axis=-1)
    assert np.abs(along).max() < 0.3  # the middle is the ray's point nearest the object's centre


def test_default_model_fits_the_package():
    sizes = [leaf.size for leaf in jax.tree.leaves(param_shapes(DiffusionGSConfig(network=NetworkConfig(stride=2))))]
    assert 2 * sum(sizes) < 15e6


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"dtype": "bfloat16", "remat": True}, {"unroll": True, "modulation": "block", "color_skip": True}]
)
def test_gradients_are_finite_and_reach_every_weight(changes):
    config, params = make(**changes)
    views = make_views()

    def total(params):
        return sum(jnp.sum(leaf**2) for leaf in predict_gaussians(config, params, views, TIMES))

    for path, leaf in jax.tree.leaves_with_path(jit(jax.grad(total))(params)):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all() and (leaf != 0).any(), jax.tree_util.keystr(path)


@pytest.mark.parametrize("changes", [{"heads": 3}, {"stride": 3}, {"sh_degree": 4}, {"domains": ()}])
def test_contradictions_are_refused(changes):
    config = DiffusionGSConfig(network=dataclasses.replace(SMALL, **changes))
    with pytest.raises(UserError, match=next(iter(changes))):
        diffusion_gs.init(config, jax.random.key(0))


@pytest.mark.slow
def test_split_gaussians_are_four_of_half_the_size_where_one_was():
    config, params = make(stride=4, color_skip=True)
    finer, split = split_gaussians(config, params)
    views = make_views()
    before, after = (predict_gaussians(*model, views, TIMES) for model in ((config, params), (finer, split)))
    assert jax.tree.map(jnp.shape, split) == jax.tree.map(lambda leaf: leaf.shape, param_shapes(finer))
    for name, factor in (("scales", 0.5), ("opacities", 1.0), ("rotations", 1.0)):
        one, four = (
            np.asarray(split_views(model.network, np.asarray(getattr(g, name)).reshape(2, g.means.shape[1], -1), 8, 12))
            for model, g in ((config, before), (finer, after))
        )
        np.testing.assert_allclose(four, factor * one.repeat(2, axis=2).repeat(2, axis=3), rtol=1e-4)
    cameras = [pixel_rays(views.cameras, 8 // stride, 12 // stride) for stride in (4, 2)]
    distances = [
        np.linalg.norm(split_views(model.network, g.means, 8, 12) - np.asarray(rays.origins), axis=-1)
        for model, g, rays in ((config, before, cameras[0]), (finer, after, cameras[1]))
    ]
    along = [np.sum(np.asarray(rays.origins * rays.directions), axis=-1) for rays in cameras]
    np.testing.assert_allclose(
        (distances[1] + along[1]), (distances[0] + along[0]).repeat(2, axis=2).repeat(2, axis=3), atol=1e-4
    )
    with pytest.raises(UserError, match="must be even"):
        split_gaussians(*split_gaussians(finer, split))
