"""Sets of generated images: tables, nearest training images, and sampling in batches."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax import evaluation
from diffgs_jax.errors import UserError
from diffgs_jax.evaluation.images import HELD_OUT, MEAN, TRAINING
from diffgs_jax.models import Generated, Progress, Requirements, Sampling
from diffgs_jax.models.ddpm import DDPMConfig

SIZE = 16


def draw(count, seed, low=0.2, high=0.8):
    """Images of one colour each, with a little noise."""
    random = np.random.default_rng(seed)
    colors = random.uniform(low, high, size=(count, 1, 1, 3))
    return np.clip(colors + random.normal(0, 0.02, (count, SIZE, SIZE, 3)), 0, 1).astype(np.float32)


def test_nearest_images_are_those_of_all_pairs():
    images, among = draw(700, 0), draw(50, 1)
    images[3] = among[17]
    found = evaluation.nearest_images(images, among)
    pairs = np.sqrt(np.mean((images[:, None].astype(np.float64) - among[None]) ** 2, axis=(2, 3, 4)))
    np.testing.assert_array_equal(found.index, pairs.argmin(axis=1))
    np.testing.assert_allclose(found.distance, pairs.min(axis=1), rtol=1e-9)
    assert found.index[3] == 17 and found.distance[3] == 0


def test_a_table_ranks_sets_and_finds_copies(weights):
    training, held_out = draw(60, 1), draw(80, 2)
    sets = {"good": draw(40, 3), "dark": draw(40, 4, 0.0, 0.2), "copied": training[:40]}
    found = evaluation.evaluate_images(sets, held_out, training, weights)
    assert list(found.scores) == ["good", "dark", "copied", TRAINING, MEAN, HELD_OUT]
    fd = {name: scores.fd_vgg16 for name, scores in found.scores.items()}
    assert fd[HELD_OUT] is None
    assert max(fd["good"], fd[TRAINING]) < min(fd["dark"], fd[MEAN])
    nearest = {name: scores.nearest for name, scores in found.scores.items()}
    assert nearest["copied"] == 0 and nearest["good"] == pytest.approx(nearest[HELD_OUT], rel=0.5)
    assert nearest[MEAN] is None and nearest[TRAINING] is None
    np.testing.assert_array_equal(found.neighbours["copied"].index, np.arange(40))


@pytest.mark.slow
def test_distances_are_of_the_networks_features(weights):
    training, held_out, images = draw(30, 1), draw(25, 2), draw(20, 3)
    found = evaluation.evaluate_images({"one": images}, held_out, training, weights).scores["one"]
    features = [np.asarray(evaluation.vgg_features(weights, jnp.asarray(part))) for part in (images, held_out)]
    assert found.fd_vgg16 == pytest.approx(evaluation.frechet_distance(*features), rel=1e-4)
    assert found.kd_vgg16 == pytest.approx(evaluation.kernel_distance(*features), rel=1e-3)


def test_sets_that_cannot_be_compared_are_refused(weights):
    training, held_out = draw(30, 1), draw(30, 2)
    for sets in ({"a": draw(20, 3), "b": draw(10, 4)}, {"a": draw(40, 5)}, {"a": draw(1, 6)}):
        with pytest.raises(UserError, match="cannot be compared"):
            evaluation.evaluate_images(sets, held_out, training, weights)


# Sampling


def echo(config, params, frozen, request, sampling, keys):
    """Images that say what they were asked with: seed, label, size of the batch."""
    labels = jnp.full(len(keys), -1) if request.labels is None else request.labels
    seeds = jax.random.key_data(keys)[:, -1]
    told = jnp.stack([seeds.astype(jnp.int32), labels, jnp.full(len(keys), len(keys))], axis=-1).astype(jnp.float32)
    shape = len(keys), request.resolution, request.resolution, 3
    yield Progress(1, 1, Generated(images=jnp.broadcast_to(told[:, None, None], shape)))


def make_family(monkeypatch, makes):
    family = types.SimpleNamespace(requirements=lambda config: Requirements(makes=makes), generate=echo)
    monkeypatch.setattr("diffgs_jax.evaluation.images.family", lambda config: family)


@pytest.mark.parametrize("batch_size", [2, 3, 50])
def test_each_image_is_that_of_its_seed_and_label_whatever_the_batches(monkeypatch, batch_size):
    make_family(monkeypatch, "images")
    images = evaluation.sample_images(
        DDPMConfig(), {}, {}, Sampling(), 7, 4, seed=100, batch_size=batch_size, labels=np.arange(7)
    )
    assert images.shape == (7, 4, 4, 3)
    np.testing.assert_array_equal(images[:, 0, 0, 0], 100 + np.arange(7))
    np.testing.assert_array_equal(images[:, 0, 0, 1], np.arange(7))
    np.testing.assert_array_equal(images[:, 0, 0, 2], min(batch_size, 7))  # one program for all batches


def test_a_model_of_something_else_is_refused(monkeypatch):
    make_family(monkeypatch, "gaussians")
    with pytest.raises(UserError, match="nothing but noise"):
        evaluation.sample_images(DDPMConfig(), {}, {}, Sampling(), 2, 4)
