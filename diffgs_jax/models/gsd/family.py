"""gsd as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from diffgs_jax.diffusion import Denoise, Prediction, Schedule, loss_guidance, make_schedule, to_x0
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, ObjectRig, Views, denoised_cameras
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
from diffgs_jax.models.gaussian_sets import CHANNELS, denormalized, gaussians_of_set
from diffgs_jax.models.generation import generate
from diffgs_jax.models.gsd.config import GSDConfig
from diffgs_jax.models.gsd.loss import clean_sets, loss, statistics_of
from diffgs_jax.models.gsd.network import apply_network, check_network, init_params, param_shapes
from diffgs_jax.models.layers.classes import class_numbers
from diffgs_jax.rasterizer import Backend, render_in_groups

_SHOWN = ObjectRig(azimuths=(0.0, 90.0, 180.0, 270.0))
"""From where a set is shown, where a request names no cameras."""


class SetCondition(NamedTuple):
    """What the denoiser is told.

    Attributes:
        classes: `[b]`, as the network counts them; None if it knows none.
        views: `[b, v]` that guide; None for none.
    """

    classes: Int[Array, "b"] | None
    views: Views | None


def check(config: GSDConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config)
    if make_schedule(config.schedule).is_flow != (config.prediction == "flow"):
        raise UserError("model.prediction flow goes with the schedule flow, and no other does")
    if data.background != config.background:
        raise UserError(f"data.background {data.background} and model.background {config.background} must be equal")
    if config.classes != len(data.labels):
        raise UserError(f"model.classes is {config.classes}, and data.labels names {len(data.labels)} classes")
    if not 0 <= config.condition_dropout < 1:
        raise UserError(f"model.condition_dropout is {config.condition_dropout}; give 0 to less than 1")
    if config.condition_dropout and not config.classes:
        raise UserError("model.condition_dropout hides classes, and model.classes is 0")


def requirements(config: GSDConfig) -> Requirements:
    """Returns what the family needs of data and requests."""
    return Requirements(
        makes="gaussians",
        background=config.background,
        labels=config.classes > 0,
        gaussians=config.gaussians,
        condition_views=(0, 64),
        guided=config.condition_dropout > 0,
        backend=config.backend,
    )


def init(config: GSDConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def load_frozen(config: GSDConfig, purpose: Purpose) -> Frozen:
    """Returns nothing: all weights are trained."""
    return {}


def cost(config: GSDConfig, data: DataSettings) -> Cost:
    """Returns the cost of one set, counted in the network's own program."""
    params = param_shapes(config)
    x = jax.ShapeDtypeStruct((1, config.gaussians, CHANNELS), jnp.float32)
    numbers = jax.ShapeDtypeStruct((1,), jnp.int32)

    def run(params: Params, x: Array, timesteps: Array, classes: Array) -> Array:
        return apply_network(config, params, x, timesteps, classes if config.classes else None)

    return Cost(
        parameters=parameter_count(params),
        forward_flops=product_flops(run, params, x, numbers, numbers),
        activation_bytes=residual_bytes(run, params, x, numbers, numbers),
        counts={"Gaussians": config.gaussians},
    )


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a kernel of the stacked blocks."""
    return "blocks" in path and path[-1] == "kernel"


def in_low_memory(config: GSDConfig, params: Params) -> tuple[GSDConfig, Params]:
    """Returns the settings and weights of the same model with its trunk in bfloat16: half the memory, fewer digits."""
    network = dataclasses.replace(config.network, dtype="bfloat16")
    trunk = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["trunk"])
    return dataclasses.replace(config, network=network), {**params, "trunk": trunk}


def with_backend(config: GSDConfig, backend: Backend) -> GSDConfig:
    """Returns the settings of the same model, rendered by `backend`."""
    return dataclasses.replace(config, backend=backend)


def with_view_guidance(config: GSDConfig, scale: float) -> GSDConfig:
    """Returns the settings of the same model, guided by given views as hard as that."""
    return dataclasses.replace(config, guidance=dataclasses.replace(config.guidance, scale=scale))


def schedule(config: GSDConfig) -> Schedule:
    """Returns the noise schedule."""
    return make_schedule(config.schedule)


def state_shape(config: GSDConfig, request: Request) -> tuple[int, ...]:
    """Returns `(b, n, 14)`."""
    return len(request.domain), config.gaussians, CHANNELS


def clean_state(config: GSDConfig, params: Params, frozen: Frozen, batch: Batch) -> Float[Array, "b n 14"]:
    """Returns the fitted sets in normalised numbers."""
    return clean_sets(config, batch)


def condition(config: GSDConfig, params: Params, frozen: Frozen, request: Request) -> SetCondition:
    """Returns the classes, and the views that guide."""
    views = request.condition if config.guidance.scale else None
    return SetCondition(class_numbers(config.classes, request.labels, len(request.domain)), views)


def null_condition(config: GSDConfig, params: Params, frozen: Frozen, request: Request) -> SetCondition:
    """Returns the same for no class. The views stay: they guide what comes out, whatever the network is told."""
    return condition(config, params, frozen, dataclasses.replace(request, labels=None))


def denoiser(
    config: GSDConfig, params: Params, frozen: Frozen, condition: SetCondition, *, views_at_once: int = 0
) -> Denoise:
    """Returns the function that samplers call: `(x_t [b, n, 14], t [b]) -> Prediction(x0, None)`.

    With given views, the predicted clean set is moved along the gradient of what its renderings lack to them.
    """
    full, statistics = make_schedule(config.schedule), statistics_of(config)

    def denoise(x_t: Float[Array, "b n 14"], t: Num[Array, "b"]) -> Prediction:
        output = apply_network(config, params, x_t, t, condition.classes)
        x0 = to_x0(full, config.prediction, output, x_t, t)
        return Prediction(jnp.clip(x0, -config.clip_x0, config.clip_x0))

    views = condition.views
    if views is None:
        return denoise
    height, width = views.images.shape[2:4]

    def lack(prediction: Prediction) -> Float[Array, "b"]:
        rendering = render_in_groups(
            gaussians_of_set(denormalized(prediction.x0, statistics)),
            views.cameras,
            views_at_once,
            height=height,
            width=width,
            background=config.background,
            backend=config.backend,
        )
        squared = jnp.sum((rendering.image - jnp.asarray(views.images)) ** 2, axis=(2, 3, 4))
        return 0.5 * jnp.mean(squared, axis=1)

    return loss_guidance(denoise, lack, full, config.guidance.scale, through=config.guidance.through)


def decode(
    config: GSDConfig, params: Params, frozen: Frozen, request: Request, x: Float[Array, "b n 14"], aux: Any
) -> Generated:
    """Returns the Gaussians, and what they look like: at the given views first, then from all around.

    The views that are shown are renderings, also where views are given.
    """
    gaussians = gaussians_of_set(denormalized(x, statistics_of(config)))
    batch = len(request.domain)
    around = request.cameras
    if around is None:
        around = Cameras(*(jnp.broadcast_to(leaf, (batch, *leaf.shape)) for leaf in denoised_cameras(_SHOWN)))
    if request.condition is not None:
        pairs = zip(request.condition.cameras, around, strict=True)
        around = Cameras(*(jnp.concatenate([jnp.asarray(a), jnp.asarray(b)], axis=1) for a, b in pairs))
    side = request.resolution
    rendering = render_in_groups(
        gaussians, around, 0, height=side, width=side, background=config.background, backend=config.backend
    )
    flags = np.zeros(rendering.image.shape[:2], bool)
    views = Views(rendering.image, around, flags, jnp.asarray(request.domain))
    return Generated(gaussians=gaussians, views=views)


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
    "with_backend",
    "with_view_guidance",
]
