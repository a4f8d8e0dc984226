"""One object and one seed make one set of Gaussians, whoever samples: command, Python API, evaluation and preview."""

import jax
import numpy as np
import pytest
from tiny import command

from diffgs_jax import evaluation
from diffgs_jax.geometry import Cameras, denoised_cameras
from diffgs_jax.inference import SamplingOptions
from diffgs_jax.interop import read_gaussians
from diffgs_jax.models import Batch
from diffgs_jax.sample import main
from diffgs_jax.training import preview

STEPS = 2


@pytest.fixture(scope="module")
def result(pipeline, picture):
    return pipeline(picture, seed=0, steps=STEPS, sampler="ddim")


def test_the_command_makes_what_the_api_makes(loaded, result, checkpoint, picture, tmp_path):
    main(command(checkpoint, picture, tmp_path / "out", "--seed", "0", "--sampler", "ddim", "--frames", "0"))
    result.save(tmp_path / "by_hand.ply")
    ours, theirs = (read_gaussians(tmp_path / name) for name in ("out/gaussians.ply", "by_hand.ply"))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_evaluation_makes_what_the_api_makes(pipeline, result):
    config = pipeline.config
    given = np.asarray(result.views.images)[:, 0]
    camera = Cameras(*(np.asarray(leaf)[:, 0] for leaf in result.views.cameras))
    alphas = np.ones(given.shape[:-1], np.float32)
    cases = evaluation.Cases(
        *(given, alphas, camera, given[:, None], alphas[:, None], Cameras(*(leaf[:, None] for leaf in camera))),
        is_target=np.ones((1, 1), bool),
        domain=np.zeros(1, np.int32),
    )
    predictor = evaluation.make_predictor(
        config.model,
        pipeline.frozen,
        pipeline.sampler(SamplingOptions(steps=STEPS, sampler="ddim")),
        denoised_cameras(config.rig),
        config.data.resolution,
        evaluation.ProtocolConfig(seed=0),
        variance=config.sampling.filter,
    )
    found = predictor.gaussians(pipeline.params, cases)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_array_equal(np.asarray(ours)[0], theirs), found, result.gaussians
    )


@pytest.mark.slow
def test_a_preview_makes_what_the_api_makes(pipeline, result):
    """Its sampled views are renderings of the Gaussians, as those of the API are."""
    config = pipeline.config
    views = result.views
    columns, _ = preview(
        config.model, pipeline.params, pipeline.frozen, Batch(views, None, np.zeros(1, np.int32)), STEPS
    )
    np.testing.assert_array_equal(np.asarray(columns["sampled from noise"])[0], np.asarray(views.images)[0])
