"""The pipeline's promises: what is compiled, what guidance computes, what more views and less memory change."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import TINY, compilations, weights

from diffgs_jax import models
from diffgs_jax.errors import UserError
from diffgs_jax.inference.pipeline import Pipeline
from diffgs_jax.models import generation
from diffgs_jax.models.diffusion_gs import LossConfig


def test_one_compiled_call_for_each_picture(pipeline, picture, monkeypatch):
    pipeline(picture, steps=2)
    calls, advance = [], generation._advance
    monkeypatch.setattr(generation, "_advance", lambda *given: calls.append(1) or advance(*given))
    compiled = compilations()
    flipped = np.ascontiguousarray(np.random.default_rng(0).integers(0, 99, (40, 40, 3)).astype(np.uint8))
    pipeline(flipped, steps=5, seed=9, sampler="dpm", elevation=5.0, matting="keep")
    assert len(calls) == 1
    pipeline(picture, steps=3, sampler="ddpm", on_step=lambda done: None)
    assert len(calls) == 1 + 3
    assert not compiled
    jax.jit(lambda x: x * 3.25)(1.0)
    assert compiled  # the listener does hear of compilations


def test_who_watches_changes_nothing_and_may_stop(pipeline, picture):
    alone = pipeline(picture, steps=4, sampler="ddpm", seed=3)
    watched = pipeline(picture, steps=4, sampler="ddpm", seed=3, trajectory=True)
    for ours, theirs in zip(alone.gaussians, watched.gaussians, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert watched.trajectory.predicted.shape == (4, 4, 32, 32, 3)
    np.testing.assert_array_equal(watched.trajectory.predicted[-1], alone.views.images[0])
    # The last step lands on the prediction itself.
    np.testing.assert_allclose(watched.trajectory.noisy[-1], watched.trajectory.predicted[-1], atol=1e-5)
    assert np.abs(watched.trajectory.noisy[0, 1:]).max() > 1.5

    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline(picture, steps=4, on_step=stop)


@pytest.mark.slow
def test_more_views_than_trained(pipeline, picture):
    result = pipeline(picture, steps=1, views=5)
    centers = result.views.cameras.camera_to_world[0, :, :3, 3]
    np.testing.assert_allclose(np.degrees(np.arctan2(centers[:, 1], centers[:, 0])) % 360, np.arange(6) * 60, atol=1e-3)
    assert len(result.gaussians.opacities) == 6 * 64 + 2
    with pytest.raises(UserError, match="number of views"):
        pipeline(picture, views=0)


@pytest.fixture(scope="module")
def guidable():
    model = dataclasses.replace(TINY.model, losses=LossConfig(condition_dropout=0.1))
    params = weights(TINY)
    # Untrained, the network hardly looks at its input: give its blocks some weight.
    params = jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    return Pipeline(dataclasses.replace(TINY, model=model), jax.device_put(params))


@pytest.mark.slow
def test_guidance_is_linear_in_its_scale(guidable, picture):
    """Of one step, the prediction is u + s (c − u) for every scale s, view by view (Ho & Salimans 2022, eq. 6)."""

    def views(guidance):
        return guidable(picture, steps=1, guidance=guidance).views.images[0]

    conditional, unconditional, double, mixed = (views(s) for s in (1.0, 0.0, 2.0, (0.0, 1.0, 2.0)))
    assert np.abs(conditional - unconditional)[1:].max() > 1e-3
    np.testing.assert_allclose(double, 2 * conditional - unconditional, atol=1e-5)
    expected = np.stack([conditional[0], unconditional[1], conditional[2], double[3]])
    np.testing.assert_allclose(mixed, expected, atol=1e-5)
    np.testing.assert_array_equal(conditional[0], double[0])  # the picture itself is never guided away


def test_guidance_is_refused(pipeline, guidable, picture):
    with pytest.raises(UserError, match="cannot be guided"):
        pipeline(picture, guidance=2.0)
    with pytest.raises(UserError, match="one for each of the 3 views"):
        guidable(picture, guidance=(1.0, 2.0))


@pytest.mark.slow
def test_low_memory_is_nearly_the_same(guidable, picture):
    model, params = models.family(guidable.config.model).in_low_memory(guidable.config.model, guidable.params)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params["trunk"])} == {"bfloat16"}
    light = Pipeline(dataclasses.replace(guidable.config, model=model), params, views_at_once=1)
    ours, theirs = light(picture, steps=1).views.images[0], guidable(picture, steps=1).views.images[0]
    error = np.abs(ours - theirs).mean(axis=(1, 2, 3))
    apart = np.abs(theirs[1:] - np.roll(theirs[1:], 1, axis=0)).mean()
    assert error.max() < 0.1 * apart  # the views are told apart, and in order


def test_fingerprints_tell_models_apart(pipeline, guidable):
    assert pipeline.fingerprint == Pipeline(TINY, weights(TINY)).fingerprint
    other = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].add(1e-6), pipeline.params)
    assert len({pipeline.fingerprint, guidable.fingerprint, Pipeline(TINY, other).fingerprint}) == 3


def test_a_model_of_scenes_alone_is_not_asked_for_objects(picture):
    network = dataclasses.replace(TINY.model.network, domains=("scene",))
    config = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, network=network))
    with pytest.raises(UserError, match="scenes only"):
        Pipeline(config, weights(config))(picture)
