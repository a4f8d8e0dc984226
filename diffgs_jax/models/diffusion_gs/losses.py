"""What DiffusionGS is trained to do (Cai et al. 2025, section 3.4): L_de + L_nv, and L_pd to get started."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.diffusion import add_noise, make_schedule, sample_timesteps
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views
from diffgs_jax.models.bundles import (
    Batch,
    Frozen,
    Metrics,
    Params,
)
from diffgs_jax.models.diffusion_gs.conditioning import draw_hidden, hide_conditions
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig, LossConfig
from diffgs_jax.models.diffusion_gs.decoding import split_views
from diffgs_jax.models.diffusion_gs.denoiser import predict_gaussians
from diffgs_jax.models.losses import TermWeights, min_snr_weights, ramp_factor, rendering_losses, signal_weights
from diffgs_jax.rasterizer import render_in_groups

# Apart from the numbers that split a key, so that other draws do not depend on these.
_DROPOUT = 0x636F6E64
_PICTURES = 0x70696373
_SCHEDULED_SAMPLING = 0x6F776E


def loss(
    config: DiffusionGSConfig,
    params: Params,
    frozen: Frozen,
    batch: Batch,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the scalar to descend and what to log.

    During the first `config.losses.distance_warmup` steps it is L_pd, on objects only; after them L_de + L_nv. Every
    term is the mean over the views it covers, whichever position `inputs.is_condition` gives them.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: weights that are used and not trained.
        batch: its inputs are clean condition views and clean views to be noised; its targets only supervise.
        key: draws timesteps, noise, the choice of supervised views and the samples whose condition is hidden.
        step: optimizer steps done.
    """
    settings, inputs = config.losses, batch.inputs
    novel = batch.targets if batch.targets is not None else _no_views(inputs)
    key_time, key_noise, key_choice = jax.random.split(key, 3)
    images = jnp.asarray(inputs.images)
    timesteps = sample_timesteps(
        key_time,
        images.shape[0],
        config.diffusion.schedule.steps,
        config.diffusion.timestep_sampling,
        shift=config.diffusion.timestep_shift,
    )
    noise = jax.random.normal(key_noise, images.shape, images.dtype)
    hidden = None
    if settings.condition_dropout:
        hidden = draw_hidden(jax.random.fold_in(key, _DROPOUT), images.shape[0], settings.condition_dropout)

    def predict(noisy: Array, at: Array, training: bool) -> Gaussians:
        is_condition = jnp.asarray(inputs.is_condition)[..., None, None, None]
        shown = inputs._replace(images=jnp.where(is_condition, images, noisy))
        shown = shown if hidden is None else hide_conditions(shown, hidden)
        return predict_gaussians(config, params, shown, at, training=training)

    noised_from = images
    if config.diffusion.scheduled_sampling:
        # A whole batch at a time, so that the others cost nothing.
        is_scheduled = jax.random.bernoulli(
            jax.random.fold_in(key, _SCHEDULED_SAMPLING), config.diffusion.scheduled_sampling
        )
        noised_from = jax.lax.cond(
            is_scheduled, lambda: first_prediction(config, predict, inputs, noise), lambda: images
        )
    noisy = add_noise(make_schedule(config.diffusion.schedule), noised_from, timesteps, noise)
    gaussians = predict(noisy, timesteps, training=True)

    targets, weights = _supervision(config, inputs, novel, key_choice)
    if settings.min_snr_gamma:
        of_samples = min_snr_weights(config.diffusion.schedule, settings.min_snr_gamma, timesteps)
        weights = weights * of_samples[None, :, None]
    perceptual_shares = None
    if settings.perceptual_signal_power:
        perceptual_shares = signal_weights(config.diffusion.schedule, settings.perceptual_signal_power, timesteps)
    terms = term_weights(settings, step)

    def distance() -> tuple[Array, Metrics]:
        value = distance_loss(config, gaussians, inputs)
        nothing = jnp.zeros((), value.dtype)
        return value, {name: nothing for name in ("denoise", "novel", *further_terms(settings))} | {"distance": value}

    def rendered() -> tuple[Array, Metrics]:
        metrics = rendering_losses(
            gaussians,
            targets,
            weights,
            terms,
            [name for name in further_terms(settings) if getattr(settings, name)],
            background=config.background,
            views_at_once=settings.views_at_once,
            backend=config.backend,
            frozen=frozen,
            perceptual_images=settings.perceptual_images,
            perceptual_shares=perceptual_shares,
            key=jax.random.fold_in(key, _PICTURES),
        )
        metrics = {name: jnp.zeros(()) for name in further_terms(settings)} | metrics
        value = terms.denoise * metrics["denoise"] + terms.novel * metrics["novel"]
        for name in further_terms(settings):
            value += getattr(terms, name) * metrics[name]
        return value, metrics | {"distance": jnp.zeros((), value.dtype)}

    if settings.distance_warmup:
        value, metrics = jax.lax.cond(step < settings.distance_warmup, distance, rendered)
    else:
        value, metrics = rendered()
    return value, metrics | {"loss": value}


def term_weights(config: LossConfig, step: int | Int32[Array, ""]) -> TermWeights:
    """Returns the weights of the terms after `step` optimizer steps."""
    return TermWeights(
        *(getattr(config, name) * ramp_factor(getattr(config.schedules, name), step) for name in TermWeights._fields)
    )


def further_terms(config: LossConfig) -> list[str]:
    """Returns the terms that are logged beside `denoise` and `novel`: coverage always, others where they count."""
    return ["alpha", *(name for name in ("perceptual", "ssim", "depth") if getattr(config, name))]


def first_prediction(
    config: DiffusionGSConfig,
    predict: Callable[[Array, Array, bool], Gaussians],
    inputs: Views,
    noise: Float[Array, "b v h w 3"],
) -> Float[Array, "b v h w 3"]:
    """Returns the clean views as the network sees them in pure noise, held fixed: what a sampler's first step predicts.

    Noised again by the same noise they are exactly what DDIM would hand to its second step.

    Args:
        config: says how long the schedule is, and the background of views that carry none.
        predict: `(noisy views, timesteps, training) -> Gaussians`.
        inputs: the views; their images are not looked at.
        noise: standard normal.
    """
    batch, count, height, width = inputs.images.shape[:4]
    gaussians = predict(noise, jnp.full((batch,), config.diffusion.schedule.steps - 1, jnp.int32), False)
    background = config.background
    if inputs.background is not None:
        background = jnp.broadcast_to(jnp.asarray(inputs.background)[:, None], (batch, count, 3))
    rendering = render_in_groups(
        jax.lax.stop_gradient(gaussians),
        inputs.cameras,
        config.losses.views_at_once,
        height=height,
        width=width,
        background=background,
        backend=config.backend,
    )
    return rendering.image


def distance_loss(config: DiffusionGSConfig, gaussians: Gaussians, views: Views) -> Float[Array, ""]:
    """Returns L_pd: the distances along each view's rays are drawn to a spread of σ₀ about the object's centre.

    Per view, with l = ‖mean − o‖: the mean of (l − target)², target = (l − mean l) / (std l + 1e-8) · σ₀ + ‖o‖ held
    fixed (published code; the paper's eq. 14 states its aim). Scenes contribute nothing.
    """
    batch, count, height, width = views.images.shape[:4]
    means = split_views(config.network, gaussians.means, height, width)
    origins = jnp.asarray(views.cameras.camera_to_world)[..., None, None, :3, 3]
    lengths = jnp.linalg.norm(means - origins, axis=-1).reshape(batch, count, -1)
    to_center = jnp.linalg.norm(origins, axis=-1).reshape(batch, count, 1)
    mean = jnp.mean(lengths, axis=-1, keepdims=True)
    deviation = jnp.std(lengths, axis=-1, keepdims=True)
    target = (lengths - mean) / (deviation + 1e-8) * config.losses.distance_deviation + to_center
    squared = jnp.mean((lengths - jax.lax.stop_gradient(target)) ** 2, axis=(1, 2))
    is_object = (jnp.asarray(views.domain) == OBJECT).astype(squared.dtype)
    return jnp.sum(is_object * squared) / jnp.maximum(jnp.sum(is_object), 1.0)


def _supervision(
    config: DiffusionGSConfig, inputs: Views, novel: Views, key: PRNGKeyArray
) -> tuple[Views, Float[Array, "2 b v"]]:
    """Chooses the noisy views that are rendered and joins them with the novel ones."""
    is_condition = jnp.asarray(inputs.is_condition)
    count = config.losses.supervised_noisy_views or is_condition.shape[1]
    # A random order in which condition views come last: rendering fewer views is the cheapest way to a faster step.
    order = jnp.argsort(jax.random.uniform(key, is_condition.shape) + 2.0 * is_condition, axis=1)[:, :count]
    chosen = jax.tree.map(lambda leaf: _take_views(jnp.asarray(leaf), order), _per_view(inputs))
    noisy = ~jnp.take_along_axis(is_condition, order, axis=1)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, jnp.asarray(b)], axis=1), chosen, _per_view(novel))
    images, cameras, alphas, depths = joined
    not_noisy, not_novel = jnp.zeros_like(noisy), jnp.zeros(novel.images.shape[:2], bool)
    weights = jnp.stack(
        [jnp.concatenate([noisy, not_novel], axis=1), jnp.concatenate([not_noisy, ~not_novel], axis=1)]
    ).astype(jnp.float32)
    weights = weights / jnp.maximum(jnp.sum(weights, axis=(1, 2), keepdims=True), 1.0)
    flags = jnp.zeros(images.shape[:2], bool)
    return Views(images, cameras, flags, jnp.asarray(inputs.domain), alphas, inputs.background, depths), weights


def _no_views(like: Views) -> Views:
    """Returns views of the same samples, none of each."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, :0] if leaf.ndim > 1 else leaf, like)


def _per_view(views: Views) -> tuple[Any, Cameras, Any, Any]:
    return views.images, views.cameras, views.alphas, views.depths


def _take_views(leaf: Array, order: Int32[Array, "b k"]) -> Array:
    return jnp.take_along_axis(leaf, order.reshape(*order.shape, *(1,) * (leaf.ndim - 2)), axis=1)
