"""What a training run carries from step to step, and the optimizer that moves it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import Array, Int32

from diffgs_jax.config import OptimizerConfig
from diffgs_jax.models import Params
from diffgs_jax.training.guard import skip_spikes

_MUON_MOMENTUM = 0.95  # as Jordan et al.
_ADAMW_RMS = 0.2  # of AdamW's updates, relative to the learning rate (Liu et al. 2025, section 2.2)


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


def make_optimizer(
    config: OptimizerConfig,
    steps: int,
    is_hidden_matrix: Callable[[tuple[str, ...]], bool],
    is_trained: Callable[[tuple[str, ...]], bool] | None = None,
) -> optax.GradientTransformation:
    """Returns AdamW (Loshchilov & Hutter 2019) or Muon (Jordan et al. 2024), on a warm-up and cosine schedule.

    Gradients are clipped by their global norm before either.

    Args:
        config: rates and decays.
        steps: the step at which the cosine ends.
        is_hidden_matrix: of the family; says which leaves Muon orthogonalises.
        is_trained: says which leaves are moved at all; all of them if None. The others do not decay either.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=min(config.warmup_steps, max(steps - 1, 1)),
        decay_steps=max(steps, 2),
        end_value=config.learning_rate * config.final_fraction,
    )

    def is_matrix(params: Params) -> Params:
        # Norm gains and biases are not meant to be pulled towards zero; stacked blocks add one axis to both.
        def decays(path: tuple[Any, ...], leaf: Array) -> bool:
            name = str(getattr(path[-1], "key", path[-1]))
            return name in ("kernel", "embedding") and leaf.ndim >= 2

        return jax.tree_util.tree_map_with_path(decays, params)

    if config.kind == "muon":
        rule = optax.contrib.muon(
            schedule,
            beta=_MUON_MOMENTUM,
            weight_decay=config.weight_decay,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            muon_weight_dimension_numbers=functools.partial(_matrices, is_hidden_matrix),
            consistent_rms=_ADAMW_RMS,
        )
    else:
        rule = optax.adamw(schedule, b1=config.beta1, b2=config.beta2, weight_decay=config.weight_decay, mask=is_matrix)
    rules = [optax.clip_by_global_norm(config.clip_norm), rule]
    if config.rate_factors:
        rules.append(_with_factors(config.rate_factors))
    if is_trained is not None:
        rules.append(optax.masked(optax.set_to_zero(), functools.partial(_untrained, is_trained)))
    optimizer = optax.chain(*rules)
    return skip_spikes(optimizer, config.spike_factor) if config.spike_factor else optimizer


def _untrained(is_trained: Callable[[tuple[str, ...]], bool], params: Any) -> Any:
    """Returns which leaves stay as they are."""
    return jax.tree_util.tree_map_with_path(lambda path, _: not is_trained(_names(path)), params)


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(getattr(key, "key", key)) for key in path)


def _with_factors(factors: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    """Returns what multiplies the update of each weight by the factor of the last part that its path contains."""

    def scaled(path: tuple[Any, ...], update: Array) -> Array:
        name = ".".join(_names(path))
        fitting = [factor for part, factor in factors if part in name]
        return update * fitting[-1] if fitting else update

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(scaled, updates))


def _matrices(is_hidden_matrix: Callable[[tuple[str, ...]], bool], params: Any) -> Any:
    """Returns which axes Muon takes for a matrix, None where AdamW is asked."""

    def axes(path: tuple[Any, ...], leaf: Array) -> optax.contrib.MuonDimensionNumbers | None:
        is_one = is_hidden_matrix(_names(path)) and leaf.ndim >= 2
        return optax.contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1) if is_one else None

    return jax.tree_util.tree_map_with_path(axes, params)


def state_to_parts(state: TrainState) -> dict[str, Any]:
    """Returns the parts of a checkpoint that hold a state: what samples are drawn from, and what else it takes."""
    rest = {"step": state.step, "params": state.params, "opt_state": state.opt_state}
    return {"ema": state.ema, "state": rest}


def state_from_parts(parts: dict[str, Any]) -> TrainState:
    """Returns the state that `state_to_parts` was given."""
    return TrainState(ema=parts["ema"], **parts["state"])


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step; the average starts as a copy of the weights."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
    )
