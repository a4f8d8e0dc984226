"""Plain diffusion of images: the loss, classes and Ho et al.'s algorithms."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffgs_jax.data import DataConfig
from diffgs_jax.diffusion import ScheduleConfig, first_noise, make_sampler, step_noise
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Views, orbit
from diffgs_jax.models import Batch, Request, Sampling, family
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.ddpm import DDPMConfig, UNetConfig
from diffgs_jax.models.ddpm.network import apply_network, param_shapes
from diffgs_jax.models.generation import generate, make_denoiser
from diffgs_jax.models.layers import TimestepEmbedding, uniform_bounds

TINY = DDPMConfig(
    network=UNetConfig(channels=8, multipliers=(1, 2), blocks=1, head_width=8, groups=4),
    schedule=ScheduleConfig(name="linear", steps=50, beta_end=0.2),
)
SIZE = 8
DATA = DataConfig(resolution=SIZE, condition_views=0, noisy_views=1, novel_views=0)
jit = jax.jit
module = family(TINY)


shapes_of = functools.cache(param_shapes)


def random_params(config, scale=0.1):
    """Weights none of which are zero."""
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, scale, leaf.shape), jnp.float32), shapes_of(config))


def random_images(count):
    return jnp.asarray(np.random.default_rng(2).normal(size=(count, SIZE, SIZE, 3)), jnp.float32)


def make_batch(samples=4, views=1, labels=None, seed=0):
    images = np.random.default_rng(seed).uniform(size=(samples, views, SIZE, SIZE, 3)).astype(np.float32)
    cameras = jax.tree.map(
        lambda leaf: np.tile(leaf[None], (samples, *(1,) * leaf.ndim)), orbit(np.arange(float(views)))
    )
    inputs = Views(images, cameras, np.zeros((samples, views), bool), np.full(samples, OBJECT, np.int32))
    return Batch(inputs, None, np.arange(samples, dtype=np.int32), labels=labels)


@functools.partial(jit, static_argnums=0)
def loss(config, params, batch, key):
    return module.loss(config, params, {}, batch, key, jnp.zeros((), jnp.int32))[0]


@functools.partial(jit, static_argnums=0)
def predict(config, params, x, t, classes):
    return apply_network(config, params, x, t, classes)


@pytest.mark.slow
def test_the_network_of_the_paper_has_as_many_weights_as_the_paper_says():
    """Ho et al. 2020, appendix B: 35.7 million for CIFAR-10, 114 million for 256 × 256 images."""
    cifar = UNetConfig(channels=128, multipliers=(1, 2, 2, 2), blocks=2, attention_levels=(1,))
    lsun = UNetConfig(channels=128, multipliers=(1, 1, 2, 2, 4, 4), blocks=2, attention_levels=(4,))
    found = [parameter_count(param_shapes(DDPMConfig(network=network))) / 1e6 for network in (cifar, lsun)]
    # Theirs are 128 sinusoids, ours 256: 128 × 512 weights more.
    assert found[0] - 0.0655 == pytest.approx(35.7, abs=0.05)
    assert found[1] - 0.0655 == pytest.approx(114, abs=0.5)


@pytest.mark.slow
def test_a_new_network_predicts_zero_so_its_loss_is_the_noises_variance():
    params = module.init(TINY, jax.random.key(0))
    value = loss(TINY, params, make_batch(samples=64), jax.random.key(1))
    assert value == pytest.approx(1.0, abs=0.03)  # of 12,288 normal numbers


def test_the_timestep_embedding_is_the_published_one():
    """Cosines and sines at frequencies 10000^(−i/128), then two layers around a SiLU (Dhariwal & Nichol's code)."""
    params = random_params(TINY)["timestep"]
    module = nnx.eval_shape(lambda: TimestepEmbedding(32, initializers=uniform_bounds(), rngs=nnx.Rngs(0)))
    found = nnx.merge(nnx.graphdef(module), params)(jnp.asarray([0, 7, 49]))
    angles = np.asarray([0.0, 7.0, 49.0])[:, None] * 10_000.0 ** (-np.arange(128) / 128)
    features = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
    params = jax.tree.map(np.asarray, params)
    hidden = features @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    hidden = hidden / (1 + np.exp(-hidden))
    np.testing.assert_allclose(found, hidden @ params["output"]["kernel"] + params["output"]["bias"], atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
def test_the_loss_is_the_mean_squared_error_of_what_is_predicted(prediction):
    config, batch, key = dataclasses.replace(TINY, prediction=prediction), make_batch(), jax.random.key(3)
    params = random_params(config)
    key_time, key_noise, _ = jax.random.split(key, 3)
    t = np.floor(np.asarray(jax.random.uniform(key_time, (4,))) * 50).astype(int)
    noise = np.asarray(jax.random.normal(key_noise, (4, SIZE, SIZE, 3)))
    signal = np.cumprod(1 - np.linspace(1e-4, 0.2, 50))[t].reshape(4, 1, 1, 1)
    x0 = 2 * batch.inputs.images[:, 0] - 1
    x_t = np.sqrt(signal) * x0 + np.sqrt(1 - signal) * noise
    output = np.asarray(predict(config, params, jnp.asarray(x_t, jnp.float32), jnp.asarray(t, jnp.int32), None))
    velocity = np.sqrt(signal) * noise - np.sqrt(1 - signal) * x0
    target = {"epsilon": noise, "x0": x0, "v": velocity}[prediction]
    assert loss(config, params, batch, key) == pytest.approx(np.mean((output - target) ** 2), rel=1e-4)


@pytest.mark.slow
def test_views_of_a_sample_are_images_of_their_own():
    together, params = make_batch(samples=2, views=3), random_params(TINY)
    images = together.inputs.images.reshape(6, 1, SIZE, SIZE, 3)
    alone = make_batch(samples=6)
    alone = alone._replace(inputs=alone.inputs._replace(images=images))
    key = jax.random.key(0)
    assert loss(TINY, params, together, key) == pytest.approx(float(loss(TINY, params, alone, key)), rel=1e-6)


@pytest.mark.slow
def test_the_gradient_is_that_of_finite_differences():
    params, batch, key = random_params(TINY), make_batch(), jax.random.key(5)
    value = jit(lambda params: module.loss(TINY, params, {}, batch, key, jnp.zeros((), jnp.int32))[0])
    gradient = jit(jax.grad(value))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    random = np.random.default_rng(7)
    direction = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), params)
    step = 1e-3

    def moved(length):
        return float(value(jax.tree.map(lambda leaf, slope: leaf + length * slope, params, direction)))

    products = jax.tree.map(lambda g, d: float(jnp.sum(g * d)), gradient, direction)
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(sum(jax.tree.leaves(products)), rel=2e-2)


# Classes


CLASSES = dataclasses.replace(TINY, classes=3, condition_dropout=0.25)


def request(count=2, labels=None):
    return Request(SIZE, jnp.zeros(count, jnp.int32), labels=None if labels is None else jnp.asarray(labels))


def test_no_class_and_an_unknown_one_are_the_null_class():
    of = functools.partial(module.condition, CLASSES, {}, {})
    np.testing.assert_array_equal(of(request(4, [0, 2, -1, 7])), [0, 2, 3, 3])
    np.testing.assert_array_equal(of(request(2)), [3, 3])
    np.testing.assert_array_equal(module.null_condition(CLASSES, {}, {}, request(2, [0, 1])), [3, 3])
    assert module.condition(TINY, {}, {}, request(2)) is None


@pytest.mark.slow
def test_classes_reach_the_prediction_and_guidance_extrapolates_between_them():
    params = random_params(CLASSES, 0.3)
    x = random_images(2)
    t = jnp.asarray([30, 40], jnp.int32)
    unclipped = dataclasses.replace(CLASSES, clip_x0=False)

    def x0(labels, guidance=None):
        return make_denoiser(unclipped, params, {}, request(2, labels), guidance)(x, t).x0

    given, null = x0([0, 1]), x0([-1, -1])
    assert np.abs(given - null).max() > 1e-3
    np.testing.assert_allclose(x0([0, 1], 3.0), null + 3 * (given - null), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_hidden_classes_are_trained_as_no_class():
    params, key = random_params(CLASSES, 0.3), jax.random.key(1)
    labelled, unlabelled = make_batch(labels=np.asarray([0, 1, 2, 0])), make_batch(labels=np.full(4, -1))
    always, never = (dataclasses.replace(CLASSES, condition_dropout=value) for value in (0.9999, 0.0))
    assert loss(always, params, labelled, key) == loss(never, params, unlabelled, key)
    assert loss(never, params, labelled, key) != loss(never, params, unlabelled, key)
    assert loss(never, params, make_batch(), key) == loss(never, params, unlabelled, key)


# Sampling


@pytest.mark.parametrize("clip", [False, True])
def test_sampling_is_algorithm_2_of_ho_et_al(clip):
    """x_{t−1} = (x_t − β_t / √(1 − ᾱ_t) · ε) / √α_t + √β_t z; clipped, the mean of eq. 7 of the clipped x_0."""
    config = dataclasses.replace(TINY, clip_x0=clip, schedule=ScheduleConfig(name="linear", steps=20, beta_end=0.2))
    params, count = random_params(config), 3
    keys = jax.random.split(jax.random.key(11), count)
    betas = np.linspace(1e-4, 0.2, 20)
    alphas = 1 - betas
    signal = np.cumprod(alphas)
    x = np.asarray(first_noise(keys, (SIZE, SIZE, 3)), np.float64)
    for index, t in enumerate(reversed(range(20))):
        noise = predict(config, params, jnp.asarray(x, jnp.float32), jnp.full(count, t, jnp.int32), None)
        noise = np.asarray(noise, np.float64)
        if clip:
            x0 = np.clip((x - np.sqrt(1 - signal[t]) * noise) / np.sqrt(signal[t]), -1, 1)
            before = signal[t - 1] if t else 1.0
            x = (
                np.sqrt(before) * betas[t] / (1 - signal[t]) * x0
                + np.sqrt(alphas[t]) * (1 - before) / (1 - signal[t]) * x
            )
        else:
            x = (x - betas[t] / np.sqrt(1 - signal[t]) * noise) / np.sqrt(alphas[t])
        if t:
            x = x + np.sqrt(betas[t]) * np.asarray(step_noise(keys, index, (SIZE, SIZE, 3)))
    sampler = make_sampler(module.schedule(config), "ddpm", 20)
    *_, last = generate(config, params, {}, request(count), Sampling(sampler), keys)
    assert last.generated.images.shape == (count, SIZE, SIZE, 3)
    np.testing.assert_allclose(last.generated.images, np.clip((x + 1) / 2, 0, 1), atol=1e-4)


# What is known without weights


def test_settings_that_contradict_each_other_are_refused():
    network = TINY.network
    wrong = {
        "groups = 3": {"network": dataclasses.replace(network, groups=3)},
        "multipliers is empty": {"network": dataclasses.replace(network, multipliers=(), attention_levels=())},
        "levels other than 0 to 1": {"network": dataclasses.replace(network, attention_levels=(2,))},
        "blocks = 0": {"network": dataclasses.replace(network, blocks=0)},
        "cudnn needs dtype": {"network": dataclasses.replace(network, attention="cudnn")},
        "must be a multiple of 32": {"network": dataclasses.replace(network, multipliers=(1,) * 6)},
        "model.classes is 0": {"condition_dropout": 0.1},
        "classes is 2, and data.labels names 0": {"classes": 2},
        "beta_start": {"schedule": ScheduleConfig(name="linear", beta_start=0.5)},
        "prediction epsilon": {"schedule": ScheduleConfig(name="flow")},
    }
    for words, changes in wrong.items():
        with pytest.raises(UserError, match=words):
            module.check(dataclasses.replace(TINY, **changes), DATA)
    with pytest.raises(UserError, match="condition_views 1"):
        module.check(TINY, DataConfig(resolution=SIZE))
    labelled = dataclasses.replace(DATA, labels=("chair", "table", "lamp"))
    module.check(CLASSES, labelled)
    with pytest.raises(UserError, match="condition_dropout is 1"):
        module.check(dataclasses.replace(CLASSES, condition_dropout=1.0), labelled)


def test_requirements_follow_from_the_settings():
    assert module.requirements(TINY).makes == "images"
    assert module.requirements(TINY).image_multiple == 2
    assert not module.requirements(TINY).labels and not module.requirements(TINY).guided
    assert module.requirements(CLASSES).labels and module.requirements(CLASSES).guided


def test_muon_is_left_the_matrices_of_blocks():
    paths = [tuple(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes_of(CLASSES))]
    chosen = {path[-2] for path in paths if module.is_hidden_matrix(path)}
    assert chosen == {"qkv", "projection", "condition", "skip"}
    shapes = {path: leaf.shape for path, leaf in zip(paths, jax.tree.leaves(shapes_of(CLASSES)), strict=True)}
    assert all(len(shapes[path]) == 2 for path in paths if module.is_hidden_matrix(path))


@pytest.mark.slow
def test_low_memory_is_nearly_the_same_model():
    params = random_params(TINY)
    x = random_images(2)
    t = jnp.asarray([3, 30], jnp.int32)
    config, small = module.in_low_memory(TINY, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(small["unet"])} == {jnp.dtype("bfloat16")}
    expected, found = predict(TINY, params, x, t, None), predict(config, small, x, t, None)
    assert found.dtype == jnp.float32
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
