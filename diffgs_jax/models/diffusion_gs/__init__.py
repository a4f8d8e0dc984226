"""DiffusionGS: a transformer that denoises posed views by way of the Gaussians it renders them from."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.diffusion import Denoise, Prediction
from diffgs_jax.geometry import Views
from diffgs_jax.models.diffusion_gs import losses
from diffgs_jax.models.diffusion_gs.conditioning import hide_conditions
from diffgs_jax.models.diffusion_gs.config import (
    DiffusionConfig,
    DiffusionGSConfig,
    DistanceLaw,
    Domain,
    GaussianConfig,
    LossConfig,
    LossSchedules,
    NetworkConfig,
    Ramp,
)
from diffgs_jax.models.diffusion_gs.cost import Cost, cost
from diffgs_jax.models.diffusion_gs.denoiser import init_params, predict_gaussians, raw_gaussians
from diffgs_jax.models.diffusion_gs.splitting import split_gaussians
from diffgs_jax.rasterizer import render_in_groups


def init(config: DiffusionGSConfig, key: PRNGKeyArray) -> dict[str, Any]:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def frozen(config: DiffusionGSConfig) -> dict[str, Any]:
    """Loads the weights that `loss` uses and does not train; see `losses.frozen`."""
    return losses.frozen(config)


def loss(
    config: DiffusionGSConfig,
    params: dict[str, Any],
    frozen: dict[str, Any],
    batch: Any,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Returns the scalar to descend and what to log; see `losses.loss`.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: of the function `frozen`.
        batch: has `inputs` and `novel`, both `Views` (`diffgs_jax.data.Batch`).
        key: draws timesteps and noise.
        step: optimizer steps done.
    """
    return losses.loss(config, params, frozen, batch.inputs, batch.novel, key, step)


def denoiser(
    config: DiffusionGSConfig,
    params: dict[str, Any],
    views: Views,
    *,
    unconditional: bool = False,
    one_view_at_a_time: bool = False,
) -> Denoise:
    """Returns the function that samplers call: `(x_t [b, v, h, w, 3], t [b]) -> Prediction(x0, Gaussians)`.

    Args:
        config: the model's settings.
        params: its weights.
        views: clean images where `is_condition`; the other images are not read. x0 is the rendering of the predicted
            Gaussians at the noisy views, and the given image at the condition views, which therefore stay clean
            whatever the sampler does to them.
        unconditional: hide the condition from the network, as `condition_dropout` does in training: the other branch
            of `classifier_free_guidance`. Condition views still come out as given.
        one_view_at_a_time: render the views one after the other, in the memory of one.
    """
    images = jnp.asarray(views.images)
    is_condition = jnp.asarray(views.is_condition)[..., None, None, None]
    height, width = images.shape[2:4]
    at_once = 1 if one_view_at_a_time else 0

    def denoise(x_t: Float[Array, "b v h w 3"], t: Int32[Array, "b"]) -> Prediction:
        shown = views._replace(images=jnp.where(is_condition, images, x_t))
        if unconditional:
            shown = hide_conditions(shown)
        gaussians = predict_gaussians(config, params, shown, t)
        rendering = render_in_groups(
            gaussians, views.cameras, at_once, height=height, width=width, background=config.background
        )
        return Prediction(jnp.where(is_condition, images, rendering.image), gaussians)

    return denoise


def can_be_guided(config: DiffusionGSConfig) -> bool:
    """Tells whether the model has learned what `unconditional` asks of it."""
    return config.losses.condition_dropout > 0


def lightened(config: DiffusionGSConfig, params: dict[str, Any]) -> tuple[DiffusionGSConfig, dict[str, Any]]:
    """Returns the settings and weights of the same model with its trunk in bfloat16: half the memory, fewer digits."""
    network = dataclasses.replace(config.network, dtype="bfloat16")
    trunk = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["trunk"])
    return dataclasses.replace(config, network=network), {**params, "trunk": trunk}


__all__ = [
    "Cost",
    "DiffusionConfig",
    "DiffusionGSConfig",
    "DistanceLaw",
    "Domain",
    "GaussianConfig",
    "LossConfig",
    "LossSchedules",
    "NetworkConfig",
    "Ramp",
    "can_be_guided",
    "cost",
    "denoiser",
    "frozen",
    "hide_conditions",
    "init",
    "lightened",
    "loss",
    "predict_gaussians",
    "raw_gaussians",
    "split_gaussians",
]
