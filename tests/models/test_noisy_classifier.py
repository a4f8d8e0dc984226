"""The classifier of noisy images: what it learns from, and that its gradient is what guidance takes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import TrainConfig, to_dict
from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import ScheduleConfig, make_sampler
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.inference import InputOptions, Pipeline, SamplingOptions
from diffgs_jax.models import Batch, Classifier, Request, Sampling, family
from diffgs_jax.models.ddpm import DDPMConfig, UNetConfig
from diffgs_jax.models.noisy_classifier import EncoderConfig, NoisyClassifierConfig

COSINE = ScheduleConfig()
CONFIG = NoisyClassifierConfig(
    network=EncoderConfig(channels=8, multipliers=(1, 2), groups=4), schedule=COSINE, classes=3
)
MODULE = family(CONFIG)
COLORS = np.asarray([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]], np.float32)


def batch_of(labels):
    images = np.broadcast_to(COLORS[labels][:, None, None, None], (len(labels), 1, 8, 8, 3)).astype(np.float32)
    cameras = Cameras(np.zeros((len(labels), 1, 4, 4), np.float32), np.zeros((len(labels), 1, 4), np.float32))
    zeros = np.zeros(len(labels), np.int32)
    return Batch(Views(images, cameras, np.zeros((len(labels), 1), bool), zeros), None, zeros, labels=labels)


@pytest.fixture(scope="module")
def trained():
    """Weights after a few steps on images of one colour."""

    @jax.jit
    def run(params):
        def body(index, params):
            labels = jax.random.randint(jax.random.fold_in(jax.random.key(1), index), (12,), 0, 3)
            images = jnp.broadcast_to(jnp.asarray(COLORS)[labels][:, None, None, None], (12, 1, 8, 8, 3))
            empty = batch_of(np.zeros(12, np.int32))
            batch = empty._replace(inputs=empty.inputs._replace(images=images), labels=labels)
            key = jax.random.fold_in(jax.random.key(2), index)
            slope = jax.grad(lambda p: MODULE.loss(CONFIG, p, {}, batch, key, jnp.int32(0))[0])(params)
            return jax.tree.map(lambda leaf, g: leaf - 0.3 * g, params, slope)

        return jax.lax.fori_loop(0, 150, body, params)

    return run(MODULE.init(CONFIG, jax.random.key(0)))


@pytest.mark.slow
def test_it_tells_what_it_was_shown(trained):
    found = MODULE.predict(CONFIG, trained, {}, np.broadcast_to(COLORS[:, None, None], (3, 8, 8, 3)))
    assert found["class"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(found["probabilities"].sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.slow
def test_images_without_a_class_are_not_learned_from(trained):
    def value(labels):
        return MODULE.loss(CONFIG, trained, {}, batch_of(labels), jax.random.key(0), jnp.int32(0))

    nothing, metrics = value(np.full(4, -1, np.int32))
    assert float(nothing) == 0 and float(metrics["accuracy"]) == 0
    # One image in four counts as much as it does alone among its likes.
    some, whole = value(np.asarray([1, -1, -1, -1], np.int32))[0], value(np.asarray([1, 1, 1, 1], np.int32))[0]
    assert 0.2 < float(some) / float(whole) < 5


@pytest.mark.slow
def test_guided_samples_are_of_the_class_and_a_scale_of_zero_changes_nothing(trained):
    model = DDPMConfig(
        network=UNetConfig(channels=8, multipliers=(1, 2), blocks=1, groups=4, attention_levels=()), schedule=COSINE
    )
    ddpm = family(model)
    # A new network says no noise at all, so everything that is of a class comes from the classifier.
    params = ddpm.init(model, jax.random.key(0))
    request = Request(8, np.zeros(6, np.int32), labels=np.asarray([0, 1, 2, 0, 1, 2], np.int32))
    keys = jax.random.split(jax.random.key(5), 6)
    sampler = make_sampler(ddpm.schedule(model), "ddim", 20)

    def run(scale):
        guide = None if scale is None else Classifier(CONFIG, trained, {}, np.asarray(scale, np.float32))
        *_, last = ddpm.generate(model, params, {}, request, Sampling(sampler, classifier=guide), keys)
        return np.asarray(last.generated.images)

    plain, still, pushed = run(None), run(0.0), run(20.0)
    np.testing.assert_allclose(still, plain, atol=1e-5)
    told = MODULE.predict(CONFIG, trained, {}, pushed)
    assert told["class"].tolist() == request.labels.tolist()


def test_settings_that_make_no_sense_are_refused():
    data = DataConfig(resolution=8, condition_views=0, noisy_views=1, novel_views=0, labels=("a", "b", "c"))
    MODULE.check(CONFIG, data)
    for wrong, message in [
        (dataclasses.replace(data, labels=("a",)), "data.labels names 1 classes"),
        (dataclasses.replace(data, resolution=9), "multiple of 2"),
        (dataclasses.replace(data, novel_views=1), "must be 0"),
    ]:
        with pytest.raises(UserError, match=message):
            MODULE.check(CONFIG, wrong)
    for network, message in [
        ({"groups": 3}, "groups = 3"),
        ({"blocks": 0}, "blocks = 0"),
        ({"multipliers": ()}, "empty"),
    ]:
        wrong = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, **network))
        with pytest.raises(UserError, match=message):
            MODULE.check(wrong, data)


def test_a_classifier_of_other_noise_images_or_kind_is_refused(tmp_path):
    def pipeline(model, resolution=8, **more):
        data = DataConfig(resolution=resolution, condition_views=0, noisy_views=1, novel_views=0, **more)
        config = TrainConfig(model=model, data=data)
        params = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(lambda: family(model).init(model, jax.random.key(0))),
        )
        return Pipeline(config, params)

    def saved(name, one):
        about = {"config": to_dict(one.config), "counters": {"samples": 0}}
        save_weights(tmp_path / name, 1, one.params, about)
        return SamplingOptions(classifier=tmp_path / name)

    network = UNetConfig(channels=8, multipliers=(1,), blocks=1, groups=4, attention_levels=())
    model = pipeline(DDPMConfig(network=network, schedule=COSINE))
    names = {"labels": ("a", "b", "c")}
    label = InputOptions(label=1)
    right = saved("right", pipeline(CONFIG, **names))
    model.check(label, right, has_image=False)
    linear = dataclasses.replace(CONFIG, schedule=ScheduleConfig("linear"))
    for sampling, message in [
        (saved("noise", pipeline(linear, **names)), "another noise schedule"),
        (saved("size", pipeline(CONFIG, 16, **names)), "images of 16 pixels, and this model of 8"),
        (saved("kind", model), "no classifier"),
        (dataclasses.replace(right, classifier_scale=float("nan")), "finite number"),
    ]:
        with pytest.raises(UserError, match=message):
            model.check(label, sampling, has_image=False)
    with pytest.raises(UserError, match="name one with --label"):
        model.check(InputOptions(), right, has_image=False)
    with pytest.raises(UserError, match="knows no classes"):
        model.check(label, SamplingOptions(), has_image=False)
