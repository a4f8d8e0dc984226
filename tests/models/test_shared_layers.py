"""Transformer pieces against other libraries, formulas and algebra."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffgs_jax.models.layers import (
    Trunk,
    initializers,
    layer_norm,
    patchify,
    sinusoidal_embedding,
    unpatchify,
)
from diffgs_jax.models.layers.attention import attend, attend_with


def test_patches_hold_the_pixels_they_should():
    images = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
    tokens = np.asarray(patchify(jnp.asarray(images), 2))
    assert tokens.shape == (2, 6, 12)
    # Token 4 is the patch in the second row and second column of a 2 × 3 grid.
    np.testing.assert_array_equal(tokens[1, 4].reshape(2, 2, 3), images[1, 2:4, 2:4])


def test_unpatchify_undoes_patchify():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 8, 12, 5)))
    np.testing.assert_array_equal(unpatchify(patchify(images, 4), 4, 8, 12), images)


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not tile a 10 × 8 image"):
        patchify(jnp.zeros((10, 8, 3)), 4)


def test_sinusoids_are_those_of_the_formula():
    embedding = np.asarray(sinusoidal_embedding(np.asarray([0, 7]), 8, 10_000.0))
    np.testing.assert_allclose(embedding[0], [1, 1, 1, 1, 0, 0, 0, 0], atol=1e-7)
    angles = 7 * np.asarray([1.0, 0.1, 0.01, 0.001])
    np.testing.assert_allclose(embedding[1], np.concatenate([np.cos(angles), np.sin(angles)]), rtol=1e-5)


def test_attention_equals_jax_nn_with_gradients():
    q, k, v, cotangent = np.random.default_rng(0).normal(size=(4, 2, 17, 3, 8)).astype(np.float32)

    def value_and_gradients(attention):
        value, pull = jax.vjp(attention, q, k, v)
        return value, *pull(jnp.asarray(cotangent))

    ours, theirs = (jax.jit(value_and_gradients, static_argnums=0)(f) for f in (attend, jax.nn.dot_product_attention))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_attention_by_cudnn_lowers_for_a_gpu(monkeypatch):
    """Forward and backward become cuDNN's calls, as on a machine with an NVIDIA GPU; here there is none to run them."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    cudnn = importlib.import_module("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91200)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: capability == "9.0")

    def loss(query, key, value):
        return jnp.sum(attend_with("cudnn", query, key, value).astype(jnp.float32))

    given = [jax.ShapeDtypeStruct((2, 128, 4, 64), jnp.bfloat16)] * 3
    lowered = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(*given).lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaSoftmax" in lowered
    assert "__cudnn$fmhaSoftmaxBackward" in lowered
    assert "tensor<2x4x128x128x" not in lowered  # tokens × tokens, for each head


def test_layer_norm_equals_flax():
    x = jnp.asarray(np.random.default_rng(0).normal(3, 5, size=(2, 4, 32)), jnp.float32)
    reference = nnx.LayerNorm(32, epsilon=1e-6, use_bias=False, use_scale=False, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(layer_norm(x), reference(x), atol=2e-6)


def make_trunk(**changes):
    settings = {
        "modulation": "block",
        "attention": "xla",
        "dtype": jnp.float32,
        "remat": False,
        "unroll": False,
        "initializers": initializers("gated"),
        "rngs": nnx.Rngs(0),
    }
    return Trunk(16, 3, 2, 2, **(settings | changes))


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(1).normal(size=(2, 5, 16)).astype(np.float32), np.ones((2, 16), np.float32)


@pytest.mark.parametrize("modulation", ["block", "shared"])
def test_gated_trunk_starts_as_the_identity_with_blocks_that_differ(modulation, inputs):
    trunk = make_trunk(modulation=modulation)
    np.testing.assert_array_equal(trunk(*map(jnp.asarray, inputs)), inputs[0])
    kernel = trunk.blocks.mlp.hidden.kernel[...]
    assert kernel.shape == (3, 16, 32)
    assert np.abs(np.asarray(kernel[0] - kernel[1])).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("keeps", ["nothing", "products"])
def test_how_the_trunk_is_run_changes_no_number(inputs, keeps):
    def value_and_gradients(**changes):
        graphdef, shapes = nnx.split(nnx.eval_shape(lambda: make_trunk(**changes)))
        random = np.random.default_rng(0)
        state = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32) / 8, shapes)
        total = lambda state: jnp.sum(jnp.sin(nnx.merge(graphdef, state)(*map(jnp.asarray, inputs))))  # noqa: E731
        return jax.jit(jax.value_and_grad(total))(state)

    expected, actual = value_and_gradients(), value_and_gradients(remat=True, unroll=True, remat_keeps=keeps)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_between_blocks_tokens_have_the_type_of_the_settings(inputs):
    """So what a rematerialised block keeps for the backward pass is its input in that type, and nothing more."""
    tokens, condition = map(jnp.asarray, inputs)
    trunk = make_trunk(dtype=jnp.bfloat16, remat=True)
    assert jax.eval_shape(trunk, tokens, condition).dtype == tokens.dtype
    kept = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(lambda x: trunk(x, condition), x)[1], tokens))
    layers = jax.tree.leaves(nnx.state(trunk.blocks))[0].shape[0]
    assert [leaf.dtype for leaf in kept if leaf.shape == (layers, *tokens.shape)] == [jnp.bfloat16]
