"""Learning from single views: what reaches the loss, how novel views are judged, and pictures made anew."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.commands.training import train
from diffgs_jax.config import RunConfig, TrainConfig, to_dict
from diffgs_jax.data import DataConfig, Record, ViewChoice, encode_record, open_store
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.store import write_store
from diffgs_jax.data.view_selection import fixed_view
from diffgs_jax.diffusion import ScheduleConfig, make_schedule
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, ObjectRig, Views, orbit
from diffgs_jax.inference import load
from diffgs_jax.models import family
from diffgs_jax.models.ddpm import DDPMConfig, UNetConfig
from diffgs_jax.models.diffusion_gs import (
    DiffusionConfig,
    DiffusionGSConfig,
    GaussianConfig,
    LossConfig,
    NetworkConfig,
    NovelPriorConfig,
)
from diffgs_jax.models.diffusion_gs import family as diffusion_gs
from diffgs_jax.models.diffusion_gs.decoding import free_places
from diffgs_jax.models.diffusion_gs.novel_prior import check_prior, load_prior, novel_cameras

SIZE, VIEWS = 16, 5
MODEL = DiffusionGSConfig(
    network=NetworkConfig(width=16, layers=1, heads=1, patch_size=8, stride=4, free_gaussians=8, free_per_token=4),
    gaussians=GaussianConfig(free_spread=0.7),
    condition_views=(0, 0),
)
DATA = DataConfig(
    resolution=SIZE,
    batch_size=2,
    threads=0,
    condition_views=0,
    noisy_views=1,
    novel_views=0,
    view_choice=ViewChoice(kind="fixed_view"),
    object_frame="record",
)
PRIOR = DDPMConfig(network=UNetConfig(channels=8, multipliers=(1, 2), blocks=1, groups=4))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Objects whose views are of a brightness of their own: a pixel says record and view."""
    folder = tmp_path_factory.mktemp("single") / "store"

    def records(names):
        for number, name in enumerate(names):
            images = []
            for view in range(VIEWS):
                pixels = np.full((SIZE, SIZE, 4), 255, np.uint8)
                pixels[..., 0], pixels[..., 1] = 20 + 20 * number, 20 + 40 * view
                images.append(encode_webp(pixels))
            record = Record(name, "object", images, orbit(np.arange(VIEWS) * 72.0 + number), name=name)
            yield name, lambda record=record: encode_record(record)

    write_store(folder, {"train": list(records("abcdefg")), "test": list(records("xy"))}, {"name": "single"})
    return folder


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior") / "checkpoints"
    params = jax.jit(functools.partial(family(PRIOR).init, PRIOR))(jax.random.key(0))
    config = TrainConfig(model=PRIOR, data=dataclasses.replace(DATA, object_frame="first_view"))
    save_weights(folder, 1, params, {"config": to_dict(config), "counters": {}})
    return folder


@pytest.mark.slow
def test_no_second_view_of_an_object_reaches_the_loss_in_a_whole_run(store, prior, tmp_path, monkeypatch):
    """Two epochs of a real run, the prior of novel views included; what the loss is given is looked at in each step."""
    seen, whole_loss = {}, diffusion_gs.loss

    def look(records, images):
        for record, image in zip(np.asarray(records), np.asarray(images), strict=True):
            seen.setdefault(int(record), []).append(image)

    def watched(config, params, frozen, batch, key, step):
        assert batch.targets is None and batch.inputs.images.shape[:2] == (2, 1)
        jax.debug.callback(look, batch.record, batch.inputs.images)
        return whole_loss(config, params, frozen, batch, key, step)

    monkeypatch.setattr(diffusion_gs, "loss", watched)
    model = dataclasses.replace(
        MODEL, losses=LossConfig(alpha=0.5, prior=NovelPriorConfig(checkpoint=str(prior), weight=0.1))
    )
    config = TrainConfig(
        model=model,
        data=dataclasses.replace(DATA, path=str(store)),
        run=RunConfig(folder=str(tmp_path / "run"), steps=14, preview_every=0, log_every=7, checkpoint_every=14),
    )
    train(config)
    jax.effects_barrier()
    uids = open_store(store).uids
    assert sorted(seen) == list(range(7)) and sum(map(len, seen.values())) == 28
    for record, images in seen.items():
        expected = (20 + 40 * fixed_view(uids[record], VIEWS)) / 255
        for image in images:
            np.testing.assert_allclose(image[..., 1], expected, atol=0.03)
            np.testing.assert_array_equal(image, images[0])


def test_free_gaussians_start_all_over_a_ball():
    places = free_places(512, 0.7)
    distances = np.linalg.norm(places, axis=1)
    assert distances.max() <= 0.7 and np.abs(places.mean(axis=0)).max() < 0.02
    # As many as the volume says within half of the radius, and in every octant
    assert np.mean(distances < 0.35) == pytest.approx(1 / 8, abs=0.02)
    assert np.bincount((places > 0) @ [1, 2, 4], minlength=8) == pytest.approx(64, abs=12)
    assert not free_places(3, 0.0).any()


def test_novel_cameras_look_at_the_object_from_everywhere():
    config = NovelPriorConfig(views=3, elevations=(-10.0, 50.0), distance=3.0)
    cameras = jax.jit(lambda key: novel_cameras(config, 200, key))(jax.random.key(0))
    poses = np.asarray(cameras.camera_to_world).reshape(-1, 4, 4)
    azimuths = np.degrees(np.arctan2(poses[:, 1, 3], poses[:, 0, 3]))
    heights = np.degrees(np.arcsin(poses[:, 2, 3] / 3.0))
    assert heights.min() >= -10.01 and heights.max() <= 50.01 and np.ptp(azimuths) > 350
    for pose, azimuth, height in list(zip(poses, azimuths, heights, strict=True))[:5]:
        known = orbit(np.array([azimuth]), elevation_degrees=float(height), distance=3.0).camera_to_world[0]
        np.testing.assert_allclose(pose, known, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": 0}, "prior.views is 0"),
        ({"elevations": (10.0, 100.0)}, "prior.elevations"),
        ({"low": 0.6}, "prior.low 0.6 and high 0.5"),
    ],
)
def test_settings_of_the_prior_are_checked(settings, message):
    with pytest.raises(UserError, match=message):
        check_prior(NovelPriorConfig(**settings))


def test_a_prior_must_be_named_and_make_images(checkpoint):
    with pytest.raises(UserError, match="needs model.losses.prior.checkpoint"):
        load_prior(NovelPriorConfig(weight=1.0))
    with pytest.raises(UserError, match="no diffusion model of images"):
        load_prior(NovelPriorConfig(weight=1.0, checkpoint=str(checkpoint)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    params = jax.jit(functools.partial(diffusion_gs.init, MODEL))(jax.random.key(0))
    config = TrainConfig(model=MODEL, data=DATA, rig=ObjectRig(azimuths=(0.0,)))
    save_weights(folder, 1, params, {"config": to_dict(config), "counters": {}})
    return folder


def picture():
    pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
    pixels[3:13, 3:13] = (200, 30, 40)
    return pixels


def masked(tmp_path, pixels):
    from PIL import Image

    path = tmp_path / "mask.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.slow
def test_pictures_are_made_anew_wholly_or_under_a_mask(checkpoint, tmp_path):
    pipeline = load(checkpoint)
    imagined = pipeline(steps=2)
    assert imagined.views.images.shape == (1, 1, SIZE, SIZE, 3) and len(imagined.gaussians.opacities) == 8 + 16
    again = pipeline(picture(), steps=4, reconstruct=0.5, matting="keep", azimuth=90.0)
    center = again.views.cameras.camera_to_world[0, 0, :3, 3]
    assert np.degrees(np.arctan2(center[1], center[0])) == pytest.approx(90)
    assert not again.views.is_condition.any()
    half = np.zeros((SIZE, SIZE), np.uint8)
    half[:, : SIZE // 2] = 255
    result = pipeline(picture(), steps=4, matting="keep", mask=masked(tmp_path, half))
    shown = picture() / 255
    np.testing.assert_allclose(result.views.images[0, 0, :, SIZE // 2 :], shown[:, SIZE // 2 :], atol=1e-6)
    assert np.abs(result.views.images[0, 0, :, : SIZE // 2] - shown[:, : SIZE // 2]).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "shown no image: say --reconstruct or --mask, or leave --image out"),
        ({"reconstruct": 1.5}, "--reconstruct is a share of the noise"),
        ({"reconstruct": 0.5, "views": 3}, "leave --views out"),
    ],
)
def test_what_cannot_be_made_anew_is_refused(checkpoint, changes, message):
    with pytest.raises(UserError, match=message):
        load(checkpoint)(picture(), steps=2, **changes)


def test_masks_are_of_the_pictures_size_and_not_empty(checkpoint, tmp_path):
    pipeline, black = load(checkpoint), np.zeros((SIZE, SIZE), np.uint8)
    with pytest.raises(UserError, match="is empty: what is to be made anew is white"):
        pipeline(picture(), matting="keep", mask=masked(tmp_path, black))
    with pytest.raises(UserError, match=r"is 4×16 pixels, and the picture is 16×16"):
        pipeline(picture(), matting="keep", mask=masked(tmp_path, black[:, :4]))
    with pytest.raises(UserError, match="about a picture"):
        pipeline(mask=masked(tmp_path, 255 - black))


@pytest.mark.slow
def test_score_distillation_moves_novel_views_to_what_the_prior_takes_for_likely(monkeypatch):
    """A prior that knows one grey: the gradient says to darken what is brighter, by the analytic amount."""
    from diffgs_jax.diffusion import Prediction
    from diffgs_jax.models.ddpm import family as ddpm
    from diffgs_jax.models.diffusion_gs.novel_prior import prior_loss
    from diffgs_jax.models.stored import StoredModel

    grey = 0.2
    monkeypatch.setattr(
        ddpm, "denoiser", lambda *_, **__: lambda x, t: Prediction(jnp.full(x.shape, 2 * grey - 1, x.dtype))
    )
    config = dataclasses.replace(
        MODEL,
        losses=LossConfig(prior=NovelPriorConfig(weight=1.0, resolution=8, low=0.5, high=0.5)),
        diffusion=DiffusionConfig(schedule=ScheduleConfig()),
    )
    nothing = jax.tree.map(
        lambda leaf: jnp.zeros((1, *leaf)),
        dict(means=(1, 3), rotations=(1, 4), scales=(1, 3), opacities=(1,), sh=(1, 1, 3)),
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    from diffgs_jax.geometry import Gaussians

    value = jax.jit(
        lambda: prior_loss(
            config, StoredModel(PRIOR, {}, {}), Gaussians(**nothing), SIZE, jax.random.key(0), jnp.int32(0)
        )
    )()
    # An empty rendering is white, 1 in [−1, 1]; ε̂ − ε = α/σ (x − m), weighed by σ².
    schedule = make_schedule(PRIOR.schedule)
    row = round(0.5 * schedule.steps)
    gradient = schedule.sigma[row] * schedule.alpha[row] * (1 - (2 * grey - 1))
    np.testing.assert_allclose(value, 0.5 * gradient**2, rtol=1e-4)


def test_a_view_that_is_not_given_clean_is_flagged_so():
    from diffgs_jax.models import Request

    given = Views(
        np.zeros((1, 1, SIZE, SIZE, 3), np.float32),
        type(orbit(np.zeros(1)))(*(np.asarray(leaf)[None] for leaf in orbit(np.zeros(1)))),
        np.ones((1, 1), bool),
        np.full(1, OBJECT, np.int32),
    )
    mask = np.ones((1, 1, SIZE, SIZE), bool)
    request = Request(SIZE, given.domain, given, given.cameras, mask=mask)
    condition = diffusion_gs.condition(MODEL, {}, {}, request)
    assert not np.asarray(condition.views.is_condition).any() and not np.asarray(condition.kept).any()
    assert diffusion_gs.state_shape(MODEL, request) == (1, 2, SIZE, SIZE, 3)
