"""A checkpoint that was trained with zero to three given views takes zero, one or several pictures."""

import dataclasses

import numpy as np
import pytest
from tiny import TINY, weights

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import to_dict
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import azimuths_beside, orbit
from diffgs_jax.inference import PosedImages, load
from diffgs_jax.models import Request, family
from diffgs_jax.sample import main

CONFIG = dataclasses.replace(
    TINY,
    model=dataclasses.replace(TINY.model, condition_views=(0, 3)),
    data=dataclasses.replace(TINY.data, fewest_condition_views=0, condition_views=3, noisy_views=1),
)


@pytest.fixture(scope="module")
def any_views(tmp_path_factory):
    folder = tmp_path_factory.mktemp("any") / "checkpoints"
    save_weights(folder, 7, weights(CONFIG), {"config": to_dict(CONFIG), "counters": {}})
    return folder


def azimuths(views):
    centers = np.asarray(views.cameras.camera_to_world)[0, :, :3, 3]
    return np.degrees(np.arctan2(centers[:, 1], centers[:, 0])) % 360


def posed(count):
    step = 180.0 if count == 2 else 90.0
    return PosedImages(np.full((count, 32, 32, 3), 0.5, np.float32), orbit(np.arange(count) * step))


@pytest.mark.slow
def test_all_views_that_are_not_given_are_imagined(any_views, picture):
    pipeline = load(any_views)
    for image, given in ((None, 0), (picture, 1), (posed(2), 2), (posed(3), 3)):
        views = pipeline(image, steps=1).views
        assert np.asarray(views.is_condition).sum() == given and views.images.shape[1] == 4
        np.testing.assert_allclose(np.sort(azimuths(views)), [0, 90, 180, 270], atol=1e-3)


@pytest.mark.slow
def test_the_command_line_needs_no_picture(any_views, tmp_path):
    words = ["--checkpoint", str(any_views), "--out", str(tmp_path / "out"), "--steps", "1", "--frames", "0"]
    main(words)
    assert (tmp_path / "out" / "gaussians.ply").is_file()


def test_more_views_than_trained_are_refused(any_views):
    with pytest.raises(UserError, match="4 posed images are given; this model is shown 0 to 3"):
        load(any_views)(posed(4))


def test_nothing_given_needs_cameras(any_views):
    request = Request(32, np.zeros(1, np.int32))
    with pytest.raises(UserError, match="cameras of the views to generate, also where no view is given"):
        family(CONFIG.model).state_shape(CONFIG.model, request)


def test_model_and_data_agree_on_the_number_of_views():
    fixed = dataclasses.replace(CONFIG.data, fewest_condition_views=None)
    for model, data in ((CONFIG.model, fixed), (TINY.model, CONFIG.data)):
        with pytest.raises(UserError, match="make them agree"):
            family(model).check(model, data)
    family(CONFIG.model).check(CONFIG.model, CONFIG.data)


def test_views_to_generate_lie_between_the_given_ones():
    assert azimuths_beside([0.0], 3) == (90.0, 180.0, 270.0)
    assert azimuths_beside([], 4) == (0.0, 90.0, 180.0, 270.0)
    assert azimuths_beside([350.0, 10.0], 1) == (180.0,)
    assert azimuths_beside([0.0, 90.0], 2) == (157.5, 225.0)
    assert azimuths_beside([20.0, 100.0], 0) == ()
