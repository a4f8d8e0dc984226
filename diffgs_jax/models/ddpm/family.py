"""ddpm as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from diffgs_jax.diffusion import Denoise, Prediction, Schedule, make_schedule, to_x0
from diffgs_jax.errors import UserError
from diffgs_jax.models.bundles import (
    Batch,
    Cost,
    DataSettings,
    Frozen,
    Generated,
    Params,
    Purpose,
    Request,
    Requirements,
)
from diffgs_jax.models.counting import parameter_count, product_flops, residual_bytes
from diffgs_jax.models.ddpm.config import DDPMConfig
from diffgs_jax.models.ddpm.loss import loss, to_state
from diffgs_jax.models.ddpm.network import apply_network, check_network, init_params, param_shapes
from diffgs_jax.models.generation import generate
from diffgs_jax.models.layers.classes import class_numbers

_MATRICES = ("qkv", "projection", "condition", "skip")


def check(config: DDPMConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config)
    if make_schedule(config.schedule).is_flow and config.prediction == "epsilon":
        raise UserError(
            "model.prediction epsilon says nothing where model.schedule flow ends, in pure noise: give flow"
        )
    multiple = _image_multiple(config)
    if data.resolution % multiple:
        raise UserError(
            f"data.resolution {data.resolution} must be a multiple of {multiple}, which the "
            f"{len(config.network.multipliers)} levels of model.network.multipliers halve away"
        )
    if data.condition_views or data.novel_views:
        raise UserError(
            f"data.condition_views {data.condition_views} and data.novel_views {data.novel_views} must be 0: this "
            "model learns from data.noisy_views alone"
        )
    if config.classes != len(data.labels):
        raise UserError(f"model.classes is {config.classes}, and data.labels names {len(data.labels)} classes")
    if not 0 <= config.condition_dropout < 1:
        raise UserError(f"model.condition_dropout is {config.condition_dropout}; give 0 to less than 1")
    if config.condition_dropout and not config.classes:
        raise UserError("model.condition_dropout hides classes, and model.classes is 0")


def requirements(config: DDPMConfig) -> Requirements:
    """Returns what the family needs of data and requests."""
    return Requirements(
        makes="images",
        image_multiple=_image_multiple(config),
        labels=config.classes > 0,
        domains=("object", "scene"),
        guided=config.condition_dropout > 0,
    )


def init(config: DDPMConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def load_frozen(config: DDPMConfig, purpose: Purpose) -> Frozen:
    """Returns nothing: all weights are trained."""
    return {}


def cost(config: DDPMConfig, data: DataSettings) -> Cost:
    """Returns the cost of one sample, counted in the network's own program."""
    params, views = param_shapes(config), data.noisy_views
    images = jax.ShapeDtypeStruct((views, data.resolution, data.resolution, 3), jnp.float32)
    numbers = jax.ShapeDtypeStruct((views,), jnp.int32)

    def run(params: Params, x: Array, timesteps: Array, classes: Array) -> Array:
        return apply_network(config, params, x, timesteps, classes if config.classes else None)

    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, images, numbers, numbers),
        activation_bytes=residual_bytes(run, params, images, numbers, numbers),
        counts={"images": views, "pixels": views * data.resolution**2},
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a matrix of a block: attention's, the condition's, a skip's; never a convolution."""
    return "blocks" in path and path[-1] == "kernel" and path[-2] in _MATRICES


def in_low_memory(config: DDPMConfig, params: Params) -> tuple[DDPMConfig, Params]:
    """Returns the settings and weights of the same model with its U-Net in bfloat16: half the memory, fewer digits."""
    network = dataclasses.replace(config.network, dtype="bfloat16")
    unet = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["unet"])
    return dataclasses.replace(config, network=network), {**params, "unet": unet}


def schedule(config: DDPMConfig) -> Schedule:
    """Returns the noise schedule."""
    return make_schedule(config.schedule)


def state_shape(config: DDPMConfig, request: Request) -> tuple[int, ...]:
    """Returns `(b, h, w, 3)`."""
    return len(request.domain), request.resolution, request.resolution, 3


def clean_state(config: DDPMConfig, params: Params, frozen: Frozen, batch: Batch) -> Float[Array, "b h w 3"]:
    """Returns the first view of each sample in [−1, 1]."""
    return to_state(jnp.asarray(batch.inputs.images)[:, 0])


def condition(config: DDPMConfig, params: Params, frozen: Frozen, request: Request) -> Int[Array, "b"] | None:
    """Returns the classes as the network counts them; None if it knows none."""
    return class_numbers(config.classes, request.labels, len(request.domain))


def null_condition(config: DDPMConfig, params: Params, frozen: Frozen, request: Request) -> Int[Array, "b"] | None:
    """Returns the same for no class."""
    return class_numbers(config.classes, None, len(request.domain))


def denoiser(
    config: DDPMConfig, params: Params, frozen: Frozen, condition: Int[Array, "b"] | None, *, views_at_once: int = 0
) -> Denoise:
    """Returns the function that samplers call: `(x_t [b, h, w, 3], t [b]) -> Prediction(x0, None)`.

    With `clip_x0`, x0 is in [−1, 1]. Under guidance each of the two predictions is, and their extrapolation may not be.
    """
    full = make_schedule(config.schedule)

    def denoise(x_t: Float[Array, "b h w 3"], t: Num[Array, "b"]) -> Prediction:
        output = apply_network(config, params, x_t, t, condition)
        x0 = to_x0(full, config.prediction, output, x_t, t)
        return Prediction(jnp.clip(x0, -1.0, 1.0) if config.clip_x0 else x0)

    return denoise


def decode(
    config: DDPMConfig, params: Params, frozen: Frozen, request: Request, x: Float[Array, "b h w 3"], aux: Any
) -> Generated:
    """Returns the images, clipped to [0, 1]."""
    return Generated(images=jnp.clip((x + 1) / 2, 0.0, 1.0))


def _image_multiple(config: DDPMConfig) -> int:
    return 2 ** (len(config.network.multipliers) - 1)


__all__ = [
    "check",
    "clean_state",
    "condition",
    "cost",
    "decode",
    "denoiser",
    "generate",
    "in_low_memory",
    "init",
    "is_hidden_matrix",
    "load_frozen",
    "loss",
    "null_condition",
    "requirements",
    "schedule",
    "state_shape",
]
