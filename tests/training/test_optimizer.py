"""The optimizers against what their papers say of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffgs_jax.config import OptimizerConfig
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, NetworkConfig
from diffgs_jax.models.diffusion_gs import family as diffusion_gs
from diffgs_jax.training import make_optimizer

MODEL = DiffusionGSConfig(network=NetworkConfig(width=32, layers=2, heads=2, patch_size=4, stride=2))
PLAIN = OptimizerConfig(learning_rate=1e-2, warmup_steps=0, weight_decay=0.0, clip_norm=1e9, final_fraction=1.0)
MUON = dataclasses.replace(PLAIN, kind="muon")


def first_update(config, params, gradients):
    optimizer = make_optimizer(config, 100, diffusion_gs.is_hidden_matrix)
    return optimizer.update(gradients, optimizer.init(params), params)[0]


def drawn():
    params = diffusion_gs.init(MODEL, jax.random.key(0))
    random = np.random.default_rng(0)
    return params, jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), params)


@pytest.mark.slow
def test_muon_moves_a_blocks_matrix_alike_in_all_directions():
    """Jordan et al. 2024: singular values between 0.7 and 1.2, and the singular vectors of the momentum; in size as
    Liu et al. 2025, eq. 4, times the learning rate."""
    params, gradients = drawn()
    updates = first_update(MUON, params, gradients)
    blocks, moved = gradients["trunk"]["blocks"], updates["trunk"]["blocks"]
    for group, name in (("attention", "qkv"), ("attention", "projection"), ("mlp", "hidden"), ("mlp", "output")):
        for gradient, update in zip(blocks[group][name]["kernel"], moved[group][name]["kernel"], strict=True):
            left, _, right = np.linalg.svd(np.asarray(gradient), full_matrices=False)
            unit = -np.asarray(update) / (1e-2 * 0.2 * np.sqrt(max(gradient.shape)))
            values = np.linalg.svd(unit, compute_uv=False)
            assert 0.6 < values.min() and values.max() < 1.25
            along = np.diag(left.T @ unit @ right.T)
            np.testing.assert_allclose(np.sort(along), np.sort(values), atol=1e-3)


@pytest.mark.slow
def test_muon_leaves_everything_else_to_adamw():
    params, gradients = drawn()
    adamw = optax.adamw(1e-2, b1=PLAIN.beta1, b2=PLAIN.beta2, weight_decay=0.0, nesterov=True)
    wanted = adamw.update(gradients, adamw.init(params), params)[0]
    difference = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), first_update(MUON, params, gradients), wanted)
    others = {
        jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(difference) if leaf > 1e-6
    }
    assert others == {
        f"['trunk']['blocks']['{group}']['{name}']['kernel']"
        for group, name in (("attention", "qkv"), ("attention", "projection"), ("mlp", "hidden"), ("mlp", "output"))
    }


def test_muon_finds_a_matrix_that_adamw_finds_too():
    """Least squares with an ill-conditioned input: both get there, so neither sign nor scale is wrong."""
    random = np.random.default_rng(0)
    inputs = jnp.asarray(random.normal(size=(256, 16)) * np.logspace(0, -1, 16), jnp.float32)
    wanted = jnp.asarray(random.normal(size=(16, 16)), jnp.float32)

    def loss(params):
        return jnp.mean((inputs @ (params["blocks"]["kernel"][0] - wanted)) ** 2)

    for kind in ("adamw", "muon"):
        params = {"blocks": {"kernel": jnp.zeros((1, 16, 16))}}
        settings = OptimizerConfig(kind=kind, learning_rate=0.1, weight_decay=0.0, clip_norm=1e9)
        optimizer = make_optimizer(settings, 300, diffusion_gs.is_hidden_matrix)
        state, begin = optimizer.init(params), loss(params)

        @jax.jit
        def step(params, state, optimizer=optimizer):
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state

        for _ in range(300):
            params, state = step(params, state)
        assert loss(params) < 0.01 * begin, kind
