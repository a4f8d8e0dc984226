"""Refining and distilling, towards what is known: images of a known splat, and priors that know the answer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stub_splats
from known import SIDE, known_splat
from oracle_families import COLORS, ColorsConfig, KnownViewsConfig

from diffgs_jax.diffusion import Prediction, add_noise, make_schedule, pull
from diffgs_jax.evaluation import psnr
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, ObjectRig, Views, orbit
from diffgs_jax.models import family
from diffgs_jax.models.diffsplat import (
    DiffSplatConfig,
    FrozenConfig,
    ImageConfig,
    LatentConfig,
    PixArtConfig,
    TextConfig,
)
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.zero123 import Zero123Config
from diffgs_jax.optimization import (
    Asked,
    DistilConfig,
    Distillation,
    Prior,
    Pulling,
    RefineConfig,
    choose,
    decode_images,
    fog,
    from_gaussians,
    guide,
    initial_state,
    new_adapters,
    to_gaussians,
)
from diffgs_jax.optimization.adapter import adapted, new_adapter, trained
from diffgs_jax.optimization.guided import plan_run
from diffgs_jax.optimization.guided_steps import prior_gradient, request_cameras
from diffgs_jax.optimization.priors import denoisers_of, state_of
from diffgs_jax.rasterizer import render_dense

RIG = ObjectRig(azimuths=(90.0, 180.0, 270.0))
FOG = DistilConfig(steps=200, capacity=64, start_count=48, start_radius=0.8, growth="none")


@pytest.fixture(scope="module")
def images(record):
    return decode_images(record)


@jax.jit
def shoot(gaussians, cameras):
    return render_dense(gaussians, cameras, height=SIDE, width=SIDE).image


def seen(gaussians, cameras):
    return np.asarray(shoot(Gaussians(*map(jnp.asarray, gaussians)), Cameras(*map(jnp.asarray, cameras))))


def prior_of(config, **more):
    return Prior(config=config, resolution=SIDE, background=1.0, params={"nothing": jnp.zeros(1)}, frozen={}, **more)


def distilled(prior, config=FOG):
    slots = from_gaussians(fog(config), config.capacity, config.sh_degree)
    state = initial_state(*slots, new_adapters((prior,), config))
    *_, last = guide(Pulling(priors=(prior,)), state, config, RIG)
    return to_gaussians(last.state.parameters, last.state.is_used), last


def scores(gaussians, images):
    pixels = images.pixels / np.float32(255)
    return np.asarray(psnr(seen(gaussians, images.cameras), pixels[..., :3] + 1 - pixels[..., 3:]))


@pytest.mark.long
def test_a_refined_splat_matches_what_is_given_and_stays_what_it_was_elsewhere(images):
    random = np.random.default_rng(0)
    truth = known_splat()
    start = truth._replace(
        sh=truth.sh + random.normal(0, 0.5, truth.sh.shape).astype(np.float32),
        means=truth.means + random.normal(0, 0.02, truth.means.shape).astype(np.float32),
    )
    given, others = choose(images, [0]), choose(images, range(1, 16))
    config = RefineConfig(steps=150, capacity=12)
    slots = from_gaussians(start, 12, 0)
    first = to_gaussians(*slots)
    *_, last = guide(Pulling(given, first), initial_state(*slots), config, RIG)
    after = to_gaussians(last.state.parameters, last.state.is_used)
    assert scores(after, given).mean() > scores(first, given).mean() + 6
    assert scores(after, others).mean() > scores(first, others).mean() - 0.3
    assert last.count == 12


def test_plans_depend_on_the_seed_and_the_step_alone(images):
    given = choose(images, [0, 4])
    pulling = Pulling(given, None, (prior_of(ColorsConfig()), prior_of(KnownViewsConfig(), front=30.0)))
    config = RefineConfig(jitter=10.0)
    whole, again = (plan_run(100, pulling, config, RIG) for _ in range(2))
    for ours, theirs in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    later = plan_run(150, pulling, config, RIG)
    np.testing.assert_array_equal(later.azimuths[0][:50], whole.azimuths[0][50:])
    np.testing.assert_array_equal(later.images[:50], whole.images[50:])
    # The views of a prior of several stand around its own front, within the jitter.
    offsets = (whole.azimuths[1] - np.asarray(RIG.azimuths) + 180) % 360 - 180
    assert np.abs(offsets).max() <= 10 and np.ptp(offsets, axis=1).max() < 1e-3
    places = whole.seen[1].camera_to_world[:, 0, :2, 3]
    turned = np.degrees(np.arctan2(places[:, 1], places[:, 0])) - 30
    np.testing.assert_allclose((turned - whole.azimuths[1][:, 0] + 180) % 360, 180, atol=1e-3)
    # What is to stay counts nothing at a given camera and most behind.
    at = np.asarray(whole.stay.camera_to_world)[:, 0, :3, 3] / RIG.distance
    towards = np.asarray(given.cameras.camera_to_world)[:, :3, 3]
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    nearest = np.degrees(np.arccos(np.clip(at @ towards.T, -1, 1))).min(axis=1)
    np.testing.assert_allclose(whole.stay_shares[:, 0], np.sin(np.radians(nearest) / 2) ** 2, atol=1e-5)


def test_a_prior_of_several_views_is_shown_the_given_images_first_in_its_own_world():
    given = Views(
        np.full((1, 1, SIDE, SIDE, 3), 0.25, np.float32),
        Cameras(*(leaf[None] for leaf in orbit(np.zeros(1)))),
        np.ones((1, 1), bool),
        np.full(1, OBJECT, np.int32),
    )
    prior = prior_of(KnownViewsConfig(), given=given, front=40.0)
    at = Cameras(*(jnp.asarray(leaf, jnp.float32) for leaf in orbit(np.asarray([130.0, 220.0]))))
    x, request = state_of(prior, jnp.ones((2, SIDE, SIDE, 3)), at, Asked())
    assert x.shape == (1, 3, SIDE, SIDE, 3) and request.condition.images.shape[1] == 1
    np.testing.assert_allclose(x[0, 0], 0.25)
    expected = orbit(np.asarray([90.0, 180.0])).camera_to_world
    np.testing.assert_allclose(request.cameras.camera_to_world[0], expected, atol=1e-5)


def test_a_prior_that_makes_views_apart_looks_from_anywhere_and_is_not_asked_for_what_is_given():
    apart = Zero123Config(
        unet=LatentUNetConfig(channels=(8,), blocks=1, depths=(0,), heads=(1,), groups=4, text_width=8),
        encoder="learned",
        channels=3,
        downsampling=1,
        latent_scale=1.0,
    )
    given = Views(
        np.full((1, 1, SIDE, SIDE, 3), 0.25, np.float32),
        Cameras(*(leaf[None] for leaf in orbit(np.zeros(1)))),
        np.ones((1, 1), bool),
        np.full(1, OBJECT, np.int32),
    )
    prior = prior_of(apart, given=given, front=40.0, rig=ObjectRig(distance=2.0, azimuths=(90.0,)))
    config = DistilConfig(elevations=(-30.0, 60.0), distillation=Distillation(views=3))
    plan = plan_run(0, Pulling(priors=(prior,)), config, RIG)
    places = plan.seen[0].camera_to_world[..., :3, 3]
    heights = np.degrees(np.arcsin(places[..., 2] / 2.0))
    assert places.shape[1] == 3 and heights.min() < -20 and heights.max() > 45
    np.testing.assert_allclose(np.linalg.norm(places, axis=-1), 2.0, rtol=1e-5)
    at = Cameras(*(jnp.asarray(leaf[0]) for leaf in plan.seen[0]))
    x, request = state_of(prior, jnp.ones((3, SIDE, SIDE, 3)), at, Asked())
    assert x.shape == (1, 3, SIDE, SIDE, 3) and request.condition.images.shape[1] == 1
    np.testing.assert_allclose(x, 1.0)
    assert request_cameras(prior, at, x) is at
    joint = prior_of(KnownViewsConfig(), given=given)
    both, _ = state_of(joint, jnp.ones((3, SIDE, SIDE, 3)), at, Asked())
    assert len(request_cameras(joint, at, both).intrinsics) == 4


@pytest.mark.slow
def test_diffsplat_is_asked_about_latents_of_all_views_and_its_say_reaches_the_images(tmp_path):
    latent = DiffSplatConfig(
        pixart=PixArtConfig(layers=1, heads=1, head_width=8, text_width=8),
        latents=LatentConfig(downsampling=stub_splats.SHRINKS),
        views=3,
        text=TextConfig("none"),
        image=ImageConfig("learned"),
        frozen=FrozenConfig(**stub_splats.write_frozen(tmp_path)),
    )
    module = family(latent)
    frozen = module.load_frozen(latent, "sampling")
    params = jax.jit(lambda key: module.init(latent, key))(jax.random.key(0))
    given = Views(
        np.full((1, 1, SIDE, SIDE, 3), 0.25, np.float32),
        Cameras(*(leaf[None] for leaf in orbit(np.zeros(1)))),
        np.ones((1, 1), bool),
        np.full(1, OBJECT, np.int32),
    )
    prior = Prior(config=latent, resolution=SIDE, background=1.0, params=params, frozen=frozen, given=given)
    at = Cameras(*(jnp.asarray(leaf, jnp.float32) for leaf in orbit(np.asarray([90.0, 180.0]))))

    @jax.jit
    def pulled(images):
        def loss(images):
            x, request = state_of(prior, images, at, Asked())
            key = jax.random.key(1)
            gradient = prior_gradient(prior, x, request, jnp.zeros(2), jnp.zeros(()), key, Distillation())
            return pull(x, gradient), x

        return jax.grad(loss, has_aux=True)(images)

    gradient, x = pulled(jnp.full((2, SIDE, SIDE, 3), 0.75))
    assert x.shape == (1, 3, SIDE // stub_splats.SHRINKS, SIDE // stub_splats.SHRINKS, 4)
    np.testing.assert_allclose(x[0, 0, ..., :3], -0.5, atol=1e-6)  # the given view comes first
    np.testing.assert_allclose(x[0, 1:, ..., :3], 0.5, atol=1e-6)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_directions_share_a_view_and_are_kept_apart():
    asked = tuple(Asked(label=np.asarray(label, np.int32)) for label in range(3))
    prior = prior_of(ColorsConfig(), asked=asked, guidance=2.0)
    azimuths = jnp.asarray([0.0, 45.0, 180.0])
    cameras = Cameras(*(jnp.asarray(leaf, jnp.float32) for leaf in orbit(np.asarray(azimuths))))
    x, request = state_of(prior, jnp.zeros((3, SIDE, SIDE, 3)), cameras, Asked())
    says = denoisers_of(prior, request, azimuths, 0.5)
    t = jnp.full(3, 100)
    np.testing.assert_allclose(says.plain(x, t).x0[1, 0, 0], (COLORS[0] + COLORS[1]) / 2, atol=1e-6)
    guided = np.asarray(says.guided(x, t).x0[0, 0, 0], np.float64)
    base, front, side, back = np.asarray(COLORS)[[3, 0, 1, 2]].astype(np.float64)
    p = front - base
    away = [-0.5 * (n - (n @ p) / (p @ p) * p) for n in (side - base, back - base)]
    np.testing.assert_allclose(guided, base + 2.0 * (p + sum(away)), atol=1e-5)


@pytest.mark.long
def test_a_new_adapter_says_what_the_prior_says_and_learns_what_renderings_look_like():
    schedule = make_schedule()
    cameras = Cameras(*(jnp.asarray(leaf, jnp.float32) for leaf in orbit(np.asarray([0.0, 90.0]))))
    x = jnp.broadcast_to(jnp.asarray([0.8, -0.6])[:, None, None, None], (2, 8, 8, 3))

    def plain(x, t):
        return Prediction(jnp.zeros_like(x))

    adapter = new_adapter(3, 8, jax.random.key(0))
    t = jnp.asarray([400, 400])
    x_t = add_noise(schedule, x, t, jax.random.normal(jax.random.key(1), x.shape))
    same = adapted(adapter.params, plain, cameras, 8)(x_t, t).x0
    assert not same.any()

    @jax.jit
    def learn(adapter):
        def body(index, adapter):
            key = jax.random.fold_in(jax.random.key(2), index)
            return trained(adapter, plain, schedule, cameras, x, key, width=8, rate=1e-2)

        return jax.lax.fori_loop(0, 300, body, adapter)

    after = adapted(learn(adapter).params, plain, cameras, 8)(x_t, t).x0
    assert np.mean((after - x) ** 2) < 0.5 * np.mean((same - x) ** 2)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sds", "vsd"])
def test_fog_becomes_what_a_prior_of_several_views_knows(kind, images):
    config = dataclasses.replace(FOG, steps=300, distillation=Distillation(kind=kind, adapter_width=8))
    gaussians, last = distilled(prior_of(KnownViewsConfig()), config)
    before = to_gaussians(*from_gaussians(fog(config), config.capacity, 0))
    gained = scores(gaussians, images).mean() - scores(before, images).mean()
    assert gained > (4 if kind == "sds" else 1), gained
    assert last.step == 300 and (kind == "vsd") == bool(last.state.adapters)


@pytest.mark.long
def test_each_side_gets_the_class_of_its_direction_and_low_resolutions_come_first():
    asked = tuple(Asked(label=np.asarray(label, np.int32)) for label in range(3))
    config = dataclasses.replace(FOG, resolutions=(12, SIDE), sh_degree=1, distillation=Distillation(away=0.0))
    gaussians, _ = distilled(prior_of(ColorsConfig(), asked=asked), config)
    middle = seen(gaussians, orbit(np.asarray([0.0, 90.0, 180.0])))[:, SIDE // 2, SIDE // 2]
    assert middle[0].argmax() == 0 and middle[2].argmax() == 2, middle
