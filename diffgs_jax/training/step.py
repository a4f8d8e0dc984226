"""One optimizer step as a pure function."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32

from diffgs_jax.config import OptimizerConfig
from diffgs_jax.models import Params
from diffgs_jax.training.guard import skipped_updates
from diffgs_jax.training.sharding import Mesh, replicated, state_shardings
from diffgs_jax.training.state import TrainState

Loss = Callable[[Params, Params, Any, Array, Array], tuple[Array, dict[str, Array]]]
"""`(params, frozen, batch, key, step) -> (scalar, metrics)`: what a model family offers, its config bound."""


def make_train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    config: OptimizerConfig,
    seed: int,
    mesh: Mesh | None = None,
) -> jax.stages.Wrapped:
    """Returns the jitted step `(state, frozen, batch) -> (state, metrics)`; the state's buffers are donated.

    Args:
        loss: the family's loss.
        optimizer: of `make_optimizer`.
        config: for the decay of the average and the parts of a batch.
        seed: the step's random key is folded from (seed, step), so that a resumed run draws what it would have drawn.
        mesh: of `make_mesh`, on which the state stays where it is; the default device if None.
    """

    def train_step(state: TrainState, frozen: Params, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        metrics, gradients = accumulate_gradients(loss, state.params, frozen, batch, key, state.step, config.accumulate)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = optax.incremental_update(params, state.ema, 1.0 - average_decay(config, state.step))
        metrics = metrics | {"gradient_norm": optax.global_norm(gradients)}
        # Says so if weights are broken and nothing is drawn any more, when losses are finite and gradients zero.
        metrics["parameter_norm"] = optax.global_norm(params)
        if (skipped := skipped_updates(opt_state)) is not None:
            metrics["skipped_updates"] = skipped.astype(jnp.float32)
        # optax types its trees for every container; ours are dictionaries.
        return TrainState(state.step + 1, cast(Params, params), cast(Params, ema), opt_state), metrics

    if mesh is None:
        return jax.jit(train_step, donate_argnums=0)

    def sharded_step(state: TrainState, frozen: Params, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        state, metrics = train_step(state, frozen, batch)
        state = jax.lax.with_sharding_constraint(state, state_shardings(state, mesh))
        return state, jax.lax.with_sharding_constraint(metrics, replicated(mesh))

    return jax.jit(sharded_step, donate_argnums=0)


def average_decay(config: OptimizerConfig, done: Int32[Array, ""]) -> Float[Array, ""]:
    """Returns the decay of the weights' average at the step after `done` steps.

    It rises with the number of steps: the average of a young run must not remember the random start.
    """
    steps = done.astype(jnp.float32)
    rising = 1.0 - (1.0 + steps) ** -config.ema_power if config.ema_power else (1.0 + steps) / (10.0 + steps)
    return jnp.minimum(config.ema_decay, rising)


def accumulate_gradients(
    loss: Loss, params: Params, frozen: Params, batch: Any, key: Array, step: Array, parts: int
) -> tuple[dict[str, Array], Params]:
    """Returns metrics and gradients of the mean loss over a batch that is cut into equal parts.

    A part takes every `parts`-th sample, so that a batch divided over devices stays evenly divided.

    Args:
        loss: of the family.
        params: its weights.
        frozen: weights that are used but not trained.
        batch: arrays `[b, …]`; `parts` divides b.
        key: of the step; each of several parts folds its number in.
        step: optimizer steps done.
        parts: how many.

    Raises:
        ValueError: if the parts do not divide the batch.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        (_, metrics), gradients = differentiate(params, frozen, batch, key, step)
        return dict(metrics), gradients

    def cut(leaf: Array) -> Array:
        if leaf.shape[0] % parts:
            raise ValueError(f"{parts} parts do not divide a batch of {leaf.shape[0]}")
        return jnp.swapaxes(leaf.reshape(leaf.shape[0] // parts, parts, *leaf.shape[1:]), 0, 1)

    def add(total: Any, item: tuple[Array, Any]) -> tuple[Any, None]:
        number, part = item
        (_, metrics), gradients = differentiate(params, frozen, part, jax.random.fold_in(key, number), step)
        return jax.tree.map(jnp.add, total, (metrics, gradients)), None

    pieces = jax.tree.map(cut, batch)
    first = jax.tree.map(lambda leaf: leaf[0], pieces)
    (_, metrics), gradients = jax.eval_shape(differentiate, params, frozen, first, key, step)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (metrics, gradients))
    total, _ = jax.lax.scan(add, zeros, (jnp.arange(parts), pieces))
    metrics, gradients = jax.tree.map(lambda leaf: leaf / parts, total)
    return dict(metrics), gradients
