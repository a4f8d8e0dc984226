"""The U-Net and its blocks against NumPy, SciPy and published sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.ndimage import correlate

from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.layers import BlockSettings, UNet, draw_uniform, uniform_bounds

CHANNELS, BLOCKS, ATTENTION, CONDITION, GROUPS, HEADS = (4, 8), 1, (1,), 6, 2, 2
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def settings(**changes):
    default = BlockSettings(
        condition_width=CONDITION,
        injection="shift",
        groups=GROUPS,
        head_width=CHANNELS[1] // HEADS,
        attention="xla",
        dtype=jnp.float32,
        initializers=uniform_bounds(),
    )
    return default._replace(**changes)


def make(**changes):
    """A graph definition and random weights, none of them zero."""
    build = lambda: UNet(3, 2, CHANNELS, BLOCKS, ATTENTION, settings(**changes), rngs=nnx.Rngs(0))  # noqa: E731
    graphdef, state = nnx.split(nnx.eval_shape(build))
    random = np.random.default_rng(0)
    shapes = nnx.to_pure_dict(state)
    return graphdef, jax.tree.map(lambda leaf: random.normal(0, 0.5, leaf.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def inputs():
    random = np.random.default_rng(1)
    return tuple(jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((2, 8, 4, 3), (2, CONDITION)))


# A U-Net of one's own, in NumPy: images one at a time, [h, w, c].


def silu(x):
    return x / (1 + np.exp(-x))


def convolve(weights, x, stride=1):
    kernel = weights["kernel"]
    channels = [
        sum(correlate(x[..., i], kernel[..., i, o], mode="constant") for i in range(kernel.shape[2]))
        for o in range(kernel.shape[3])
    ]
    return (np.stack(channels, axis=-1) + weights["bias"])[::stride, ::stride]


def group_norm(weights, x):
    parts = []
    for part in np.split(x, GROUPS, axis=-1):
        parts.append((part - part.mean()) / np.sqrt(part.var() + 1e-5))
    return np.concatenate(parts, axis=-1) * weights["scale"] + weights["bias"]


def dense(weights, x):
    return x @ weights["kernel"] + weights["bias"]


def residual(weights, x, condition, injection):
    hidden = convolve(weights["convolution1"], silu(group_norm(weights["norm1"], x)))
    signal = dense(weights["condition"], condition)
    if injection == "shift":
        hidden = group_norm(weights["norm2"], hidden + signal)
    else:
        scale, shift = np.split(signal, 2)
        hidden = group_norm(weights["norm2"], hidden) * (1 + scale) + shift
    hidden = convolve(weights["convolution2"], silu(hidden))
    return hidden + (dense(weights["skip"], x) if "skip" in weights else x)


def attention(weights, x):
    tokens = group_norm(weights["norm"], x).reshape(-1, x.shape[-1])
    queries, keys, values = np.split(dense(weights["attention"]["qkv"], tokens), 3, axis=-1)
    heads = []
    for q, k, v in zip(*(np.split(part, HEADS, axis=-1) for part in (queries, keys, values)), strict=True):
        scores = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
        heads.append(scores / scores.sum(axis=-1, keepdims=True) @ v)
    return x + dense(weights["attention"]["projection"], np.concatenate(heads, axis=-1)).reshape(x.shape)


def block(weights, x, condition, injection):
    x = residual(weights["residual"], x, condition, injection)
    return attention(weights["attention"], x) if "attention" in weights else x


def unet(weights, x, condition, injection="shift"):
    """The two levels written out, as in figure and text of Ho et al. 2020, appendix B."""
    run = functools.partial(block, condition=condition, injection=injection)
    fine, coarse = weights["down"]["0"], weights["down"]["1"]
    a = convolve(weights["input"], x)
    b = run(fine["blocks"]["0"], a)
    c = convolve(fine["resample"]["convolution"], b, stride=2)
    d = run(coarse["blocks"]["0"], c)
    x = run(weights["middle"]["blocks"]["1"], run(weights["middle"]["blocks"]["0"], d))
    coarse, fine = weights["up"]["1"], weights["up"]["0"]
    x = run(coarse["blocks"]["0"], np.concatenate([x, d], axis=-1))
    x = run(coarse["blocks"]["1"], np.concatenate([x, c], axis=-1))
    x = convolve(coarse["resample"]["convolution"], np.kron(x, np.ones((2, 2, 1))))
    x = run(fine["blocks"]["0"], np.concatenate([x, b], axis=-1))
    x = run(fine["blocks"]["1"], np.concatenate([x, a], axis=-1))
    return convolve(weights["output"], silu(group_norm(weights["norm"], x)))


@pytest.mark.slow
@pytest.mark.parametrize("injection", ["shift", "scale_shift"])
def test_a_unet_is_what_numpy_makes_of_its_weights(injection, inputs):
    graphdef, weights = make(injection=injection)
    found = jit(lambda weights, x, condition: nnx.merge(graphdef, weights)(x, condition))(weights, *inputs)
    exact = jax.tree.map(lambda leaf: leaf.astype(np.float64), weights)
    for sample in range(2):
        expected = unet(exact, *(np.asarray(part[sample], np.float64) for part in inputs), injection)
        np.testing.assert_allclose(found[sample], expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_a_unet_starts_at_zero_with_branches_that_do_nothing(inputs):
    def start(key):
        network = UNet(3, 2, CHANNELS, BLOCKS, ATTENTION, settings(), rngs=nnx.Rngs(0))
        return draw_uniform(nnx.to_pure_dict(nnx.state(network, nnx.Param)), key)

    graphdef, _ = make()
    params = jit(start)(jax.random.key(0))
    found = jit(lambda params, x, condition: nnx.merge(graphdef, params)(x, condition))(params, *inputs)
    assert (np.asarray(found) == 0).all()
    block = params["middle"]["blocks"]["0"]
    assert (block["residual"]["convolution2"]["kernel"] == 0).all()
    assert (block["attention"]["attention"]["projection"]["kernel"] == 0).all()


def test_weights_are_drawn_apart_and_of_glorots_variance():
    bound = uniform_bounds().linear(jax.random.key(0), (3, 3, 32, 64))
    bounds = {"first": {"kernel": bound}, "norm": {"scale": jnp.full(4, 7.0)}, "second": {"kernel": bound}}
    drawn = draw_uniform(bounds, jax.random.key(0))
    first, second = (np.asarray(drawn[name]["kernel"]) for name in ("first", "second"))
    assert np.var(first) == pytest.approx(2 / (9 * 32 + 9 * 64), rel=0.02)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(drawn["norm"]["scale"], 7.0)  # what is no kernel starts as it is


def test_images_that_cannot_be_halved_are_refused(inputs):
    graphdef, weights = make()
    with pytest.raises(ValueError, match="sides that 2 divides"):
        nnx.merge(graphdef, weights)(jnp.zeros((1, 7, 8, 3)), jnp.zeros((1, CONDITION)))


def test_counted_products_are_those_of_the_formula(inputs):
    graphdef, weights = make()
    run = lambda weights, x, condition: nnx.merge(graphdef, weights)(x, condition)  # noqa: E731
    (a, b), batch = CHANNELS, 2
    fine, coarse = 9 * batch * 8 * 4, 9 * batch * 4 * 2  # kernel elements · pixels
    products = fine * (3 * a + 2 * a * a + 2 * a) + coarse * a * a  # ends, one block, down
    products += coarse * (a * b + b * b) + coarse * 4 * b * b  # the coarse block, the middle
    products += coarse * (2 * b * b + (a + b) * b + 2 * b * b) + fine * b * b  # up the coarse level
    products += fine * ((a + b) * a + 2 * a * a + 2 * a * a)
    products += coarse // 9 * (a * b + 2 * b * b + (a + b) * b) + fine // 9 * ((a + b) * a + 2 * a * a)  # skips
    products += batch * CONDITION * (3 * a + 5 * b)
    products += 4 * batch * 8 * (4 * b * b + 2 * 8 * b)  # attention: projections of 8 pixels, scores and values
    assert product_flops(run, weights, *inputs) == 2 * products

    def repeated(weights):
        return jax.lax.scan(lambda x, _: (run(weights, x, inputs[1])[..., :1] + x, None), inputs[0], length=3)

    assert product_flops(repeated, weights) == 6 * products


def test_residuals_of_a_product_are_its_factors():
    weights, x = np.zeros((5, 7), np.float32), np.zeros((3, 5), np.float32)
    assert residual_bytes(lambda w, x: jnp.sin(x @ w), weights, x) == 4 * (3 * 5 + 3 * 7)
    assert parameter_count({"w": weights, "deeper": {"x": x}}) == 50
