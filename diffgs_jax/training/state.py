"""What a training run carries from step to step, and the optimizer that moves it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int32

from diffgs_jax.training.config import OptimizerConfig
from diffgs_jax.training.guard import skip_spikes

Params = dict[str, Any]
"""Nested dictionaries of arrays."""


class TrainState(NamedTuple):
    """Everything that a checkpoint must hold to continue exactly.

    Attributes:
        step: optimizer steps done.
        params: the weights.
        ema: their exponential average, which samples are drawn from.
        opt_state: the optimizer's averages.
    """

    step: Int32[Array, ""]
    params: Params
    ema: Params
    opt_state: Any


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Returns AdamW (Loshchilov & Hutter 2019) behind global-norm clipping, on a warm-up and cosine schedule.

    Args:
        config: rates and decays.
        steps: the step at which the cosine ends.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=min(config.warmup_steps, max(steps - 1, 1)),
        decay_steps=max(steps, 2),
        end_value=config.learning_rate * config.final_fraction,
    )

    def is_matrix(params: Params) -> Params:
        # Norm gains and biases are pulled towards zero by nobody's intention; stacked blocks add one axis to both.
        def decays(path: tuple[Any, ...], leaf: Array) -> bool:
            name = str(getattr(path[-1], "key", path[-1]))
            return name in ("kernel", "embedding") and leaf.ndim >= 2

        return jax.tree_util.tree_map_with_path(decays, params)

    optimizer = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, b1=config.beta1, b2=config.beta2, weight_decay=config.weight_decay, mask=is_matrix),
    )
    return skip_spikes(optimizer, config.spike_factor) if config.spike_factor else optimizer


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step; the average starts as a copy of the weights."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
    )
