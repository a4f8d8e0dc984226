"""How fast single weights move, and how fast their average follows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax.config import OptimizerConfig
from diffgs_jax.training.state import make_optimizer
from diffgs_jax.training.step import average_decay


def test_the_average_follows_as_published(golden_folder):
    with np.load(golden_folder / "diffsplat_schedulers.npz") as golden:
        updates, decays = golden["ema/step"], golden["ema/decay"]
    config = OptimizerConfig(ema_decay=0.9999, ema_power=0.75)
    ours = jax.vmap(functools.partial(average_decay, config))(jnp.asarray(updates - 1, jnp.int32))
    np.testing.assert_allclose(ours, decays, atol=1e-6)


def test_parts_of_the_weights_learn_at_rates_of_their_own():
    params = {part: {"kernel": jnp.ones((2, 2))} for part in ("attention", "text", "mlp")}
    gradients = {part: {"kernel": jnp.ones((2, 2))} for part in params}
    config = OptimizerConfig(
        learning_rate=0.1,
        warmup_steps=0,
        clip_norm=100.0,
        rate_factors=(("a", 0.5), ("text", 0.0), ("attention", 0.25)),
    )
    optimizer = make_optimizer(config, 10, lambda path: False)
    state, moved = optimizer.init(params), {}
    for _ in range(2):
        updates, state = optimizer.update(gradients, state, params)
        moved = {part: float(jnp.abs(update["kernel"]).mean()) for part, update in updates.items()}
    assert moved["text"] == 0 and moved["mlp"] > 0
    np.testing.assert_allclose(moved["attention"], 0.25 * moved["mlp"], rtol=1e-5)
