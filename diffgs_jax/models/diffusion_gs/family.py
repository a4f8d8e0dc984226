"""DiffusionGS as a family: see `diffgs_jax.models.family` for what each function means."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Num, PRNGKeyArray

from diffgs_jax.diffusion import Denoise, Prediction, Schedule, make_schedule
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.models.bundles import (
    Batch,
    DataSettings,
    Frozen,
    Generated,
    Params,
    Purpose,
    Request,
    Requirements,
)
from diffgs_jax.models.diffusion_gs import decoding
from diffgs_jax.models.diffusion_gs.conditioning import hide_conditions
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig
from diffgs_jax.models.diffusion_gs.cost import cost
from diffgs_jax.models.diffusion_gs.denoiser import check_network, init_params, predict_gaussians
from diffgs_jax.models.diffusion_gs.importing import import_published, recognizes
from diffgs_jax.models.diffusion_gs.losses import check_losses, loss
from diffgs_jax.models.diffusion_gs.novel_prior import load_prior
from diffgs_jax.models.generation import generate
from diffgs_jax.models.losses import load_lpips
from diffgs_jax.rasterizer import Backend, render_in_groups


class Condition(NamedTuple):
    """What the denoiser is told.

    Attributes:
        views: `[b, n + v]`, the given ones first, their images clean; the other images are not read.
        shown: `[b, n + v, h, w, 3]`, the given images as the network sees them: hidden in the null condition.
        kept: `[b, n + v, h, w]`, pixels of views that are no condition and yet are to stay as they are given; None for
            none.
    """

    views: Views
    shown: Float[Array, "b v h w 3"]
    kept: Bool[Array, "b v h w"] | None = None


def check(config: DiffusionGSConfig, data: DataSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        UserError: naming them in one line.
    """
    check_network(config.network)
    check_losses(config.losses)
    network = config.network
    if data.resolution % network.patch_size:
        raise UserError(
            f"data.resolution {data.resolution} must be a multiple of model.network.patch_size {network.patch_size}"
        )
    least, most = config.condition_views
    if not 0 <= least <= most:
        raise UserError(f"model.condition_views is {config.condition_views}; give a least and a most, in this order")
    fewest = data.condition_views if data.fewest_condition_views is None else data.fewest_condition_views
    if (least == 0 or data.fewest_condition_views is not None) and (least, most) != (fewest, data.condition_views):
        raise UserError(
            f"model.condition_views says {least} to {most}, and samples have {fewest} to {data.condition_views} "
            "(data.fewest_condition_views, data.condition_views): make them agree"
        )
    if data.background != config.background:
        raise UserError(f"data.background {data.background} and model.background {config.background} must be equal")


def requirements(config: DiffusionGSConfig) -> Requirements:
    """Returns what the family needs of data and requests."""
    return Requirements(
        makes="gaussians",
        image_multiple=config.network.patch_size,
        background=config.background,
        maps=("depth",) if config.losses.depth else (),
        condition_views=config.condition_views,
        cameras=True,
        domains=config.network.domains,
        guided=config.losses.condition_dropout > 0,
        remakes=config.condition_views[0] == 0,
        backend=config.backend,
    )


def init(config: DiffusionGSConfig, key: PRNGKeyArray) -> Params:
    """Returns fresh weights, nested dictionaries of float32 arrays."""
    return init_params(config, key)


def load_frozen(config: DiffusionGSConfig, purpose: Purpose) -> Frozen:
    """Loads `lpips` if training has a perceptual term, and `prior` if novel views are regularised; else nothing.

    Raises:
        UserError: if weights were never fetched, or the prior is none.
        DataError: if they are damaged.
    """
    losses, frozen = config.losses, {}
    if losses.perceptual and purpose == "training":
        frozen["lpips"] = load_lpips(losses.perceptual_network)
    if losses.prior.weight and purpose == "training":
        frozen["prior"] = load_prior(losses.prior)
    return frozen


def is_hidden_matrix(path: tuple[str, ...]) -> bool:
    """Tells whether a leaf is a kernel of the stacked blocks."""
    return "blocks" in path and path[-1] == "kernel"


def in_low_memory(config: DiffusionGSConfig, params: Params) -> tuple[DiffusionGSConfig, Params]:
    """Returns the settings and weights of the same model with its trunk in bfloat16: half the memory, fewer digits."""
    network = dataclasses.replace(config.network, dtype="bfloat16")
    trunk = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params["trunk"])
    return dataclasses.replace(config, network=network), {**params, "trunk": trunk}


def with_backend(config: DiffusionGSConfig, backend: Backend) -> DiffusionGSConfig:
    """Returns the settings of the same model, rendered by `backend`."""
    return dataclasses.replace(config, backend=backend)


def schedule(config: DiffusionGSConfig) -> Schedule:
    """Returns the noise schedule."""
    return make_schedule(config.diffusion.schedule)


def state_shape(config: DiffusionGSConfig, request: Request) -> tuple[int, ...]:
    """Returns `(b, n + v, h, w, 3)`: the given views, which the sampler leaves clean, and those to generate.

    Under a mask the given views are generated too, but for what the mask keeps.
    """
    return _joined(config, request).images.shape


def clean_state(config: DiffusionGSConfig, params: Params, frozen: Frozen, batch: Batch) -> Float[Array, "b v h w 3"]:
    """Returns the input views' images, condition views first."""
    order = jnp.argsort(~jnp.asarray(batch.inputs.is_condition), axis=1, stable=True)
    return jnp.take_along_axis(jnp.asarray(batch.inputs.images), order[:, :, None, None, None], axis=1)


def condition(config: DiffusionGSConfig, params: Params, frozen: Frozen, request: Request) -> Condition:
    """Returns the given views and the cameras of the others."""
    views = _joined(config, request)
    return Condition(views, jnp.asarray(views.images), _kept(views, request))


def null_condition(config: DiffusionGSConfig, params: Params, frozen: Frozen, request: Request) -> Condition:
    """Returns the same with the given images hidden from the network; they still come out as given."""
    views = _joined(config, request)
    return Condition(views, jnp.asarray(hide_conditions(views).images), _kept(views, request))


def denoiser(
    config: DiffusionGSConfig, params: Params, frozen: Frozen, condition: Condition, *, views_at_once: int = 0
) -> Denoise:
    """Returns the function that samplers call: `(x_t [b, n + v, h, w, 3], t [b]) -> Prediction(x0, Gaussians)`.

    x0 is the rendering of the predicted Gaussians at the views to generate, and the given image at the condition views,
    which therefore stay clean whatever the sampler does to them. Pixels that are kept without being a condition are the
    given ones in x0 too; the network sees them as noisy as the others of their view, as in training.
    """
    views = condition.views
    images = jnp.asarray(views.images)
    is_condition = jnp.asarray(views.is_condition)[..., None, None, None]
    height, width = images.shape[2:4]
    is_given = is_condition if condition.kept is None else is_condition | condition.kept[..., None]

    def denoise(x_t: Float[Array, "b v h w 3"], t: Num[Array, "b"]) -> Prediction:
        shown = views._replace(images=jnp.where(is_condition, condition.shown, x_t))
        gaussians = predict_gaussians(config, params, shown, t)
        rendering = render_in_groups(
            gaussians,
            views.cameras,
            views_at_once,
            height=height,
            width=width,
            background=config.background,
            backend=config.backend,
        )
        return Prediction(jnp.where(is_given, images, rendering.image), gaussians)

    return denoise


def views_of_gaussians(config: DiffusionGSConfig, request: Request) -> Int32[np.ndarray, "n"]:
    """Returns by Gaussian the number of its view, the given ones first; −1 for free ones."""
    _, views, height, width, _ = state_shape(config, request)
    return decoding.views_of_gaussians(config.network, views, height, width)


def decode(
    config: DiffusionGSConfig,
    params: Params,
    frozen: Frozen,
    request: Request,
    x: Float[Array, "b v h w 3"],
    aux: Any,
) -> Generated:
    """Returns the views, and the Gaussians of which they are renderings; the given views as they were given."""
    views = _joined(config, request)
    is_condition = jnp.asarray(views.is_condition)[..., None, None, None]
    return Generated(gaussians=aux, views=views._replace(images=jnp.where(is_condition, views.images, x)))


def _joined(config: DiffusionGSConfig, request: Request) -> Views:
    """Returns `[b, n + v]` views: the given ones, and those to generate, their images zero."""
    if request.cameras is None:
        raise UserError("this model needs the cameras of the views to generate, also where no view is given")
    batch, generated = request.cameras.intrinsics.shape[:2]
    size = request.resolution
    zeros = jnp.zeros((batch, generated, size, size, 3), jnp.float32)
    domain = jnp.asarray(request.domain)
    if request.condition is None:
        return Views(zeros, request.cameras, jnp.zeros((batch, generated), bool), domain)
    given = request.condition
    images = jnp.concatenate([jnp.asarray(given.images), zeros], axis=1)
    pairs = zip(given.cameras, request.cameras, strict=True)
    cameras = Cameras(*(jnp.concatenate([jnp.asarray(a), jnp.asarray(b)], axis=1) for a, b in pairs))
    clean = given.images.shape[1] if request.mask is None else 0
    is_condition = jnp.broadcast_to(jnp.arange(images.shape[1]) < clean, images.shape[:2])
    return Views(images, cameras, is_condition, domain)


def _kept(views: Views, request: Request) -> Bool[Array, "b v h w"] | None:
    """Returns which pixels of the given views a mask keeps; None without one."""
    if request.mask is None:
        return None
    kept = ~jnp.asarray(request.mask)
    return jnp.pad(kept, ((0, 0), (0, views.images.shape[1] - kept.shape[1]), (0, 0), (0, 0)))


__all__ = [
    "check",
    "clean_state",
    "condition",
    "cost",
    "decode",
    "denoiser",
    "generate",
    "import_published",
    "in_low_memory",
    "init",
    "is_hidden_matrix",
    "load_frozen",
    "loss",
    "null_condition",
    "recognizes",
    "requirements",
    "schedule",
    "state_shape",
    "views_of_gaussians",
    "with_backend",
]
