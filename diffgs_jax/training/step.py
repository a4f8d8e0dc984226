"""One optimizer step as a pure function."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from diffgs_jax.training.config import OptimizerConfig
from diffgs_jax.training.state import Params, TrainState

Loss = Callable[[Params, Params, Any, Array, Array], tuple[Array, dict[str, Array]]]
"""`(params, frozen, batch, key, step) -> (scalar, metrics)`: what a model family offers, its config bound."""


def make_train_step(
    loss: Loss, optimizer: optax.GradientTransformation, config: OptimizerConfig, seed: int
) -> Callable[[TrainState, Params, Any], tuple[TrainState, dict[str, Array]]]:
    """Returns the jitted step `(state, frozen, batch) -> (state, metrics)`; the state's buffers are donated.

    Args:
        loss: the family's loss.
        optimizer: of `make_optimizer`.
        config: for the decay of the average.
        seed: the step's random key is folded from (seed, step), so that a resumed run draws what it would have drawn.
    """

    def train_step(state: TrainState, frozen: Params, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, frozen, batch, key, state.step)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # The average of a young run must not remember the random start: the decay rises with the number of steps.
        done = state.step.astype(jnp.float32)
        decay = jnp.minimum(config.ema_decay, (1.0 + done) / (10.0 + done))
        ema = optax.incremental_update(params, state.ema, 1.0 - decay)
        metrics["gradient_norm"] = optax.global_norm(gradients)
        # optax types its trees for every container; ours are dictionaries.
        return TrainState(state.step + 1, cast(Params, params), cast(Params, ema), opt_state), metrics

    return jax.jit(train_step, donate_argnums=0)
