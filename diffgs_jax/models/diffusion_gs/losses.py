"""What DiffusionGS is trained to do (Cai et al. 2025, section 3.4): L_de + L_nv, and L_pd to get started."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.diffusion import add_noise, make_schedule, sample_timesteps
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Gaussians, Views
from diffgs_jax.models.bundles import (
    Batch,
    Frozen,
    Metrics,
    Params,
)
from diffgs_jax.models.contributions import by_noise, of_denoised_views, opacity_share, weight_shares
from diffgs_jax.models.diffusion_gs.conditioning import draw_hidden, hide_conditions
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig, LossConfig
from diffgs_jax.models.diffusion_gs.decoding import split_views, views_of_gaussians
from diffgs_jax.models.diffusion_gs.denoiser import predict_gaussians
from diffgs_jax.models.diffusion_gs.novel_prior import check_prior, prior_loss
from diffgs_jax.models.diffusion_gs.supervision import choose_supervised, no_views, own_loss, shown_gaussians
from diffgs_jax.models.losses import (
    TermWeights,
    comparison_losses,
    min_snr_weights,
    ramp_factor,
    render_targets,
    signal_weights,
)
from diffgs_jax.rasterizer import render_in_groups

# Apart from the numbers that split a key, so that other draws do not depend on these.
_DROPOUT = 0x636F6E64
_PICTURES = 0x70696373
_SCHEDULED_SAMPLING = 0x6F776E
_LEFT_OUT = 0x6C656674
_PRIOR = 0x7072696F


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
    novel = batch.targets if batch.targets is not None else no_views(inputs)
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

    supervised = choose_supervised(config.losses, inputs, novel, key_choice)
    targets, weights = supervised.targets, supervised.weights
    owners = views_of_gaussians(config.network, *images.shape[1:4])
    shown = shown_gaussians(settings, inputs, supervised, owners, jax.random.fold_in(key, _LEFT_OUT))
    counted = of_denoised_views(owners, inputs.is_condition) if settings.log_shares else None
    if settings.min_snr_gamma:
        of_samples = min_snr_weights(config.diffusion.schedule, settings.min_snr_gamma, timesteps)
        weights = weights * of_samples[None, :, None]
    perceptual_shares = None
    if settings.perceptual_signal_power:
        perceptual_shares = signal_weights(config.diffusion.schedule, settings.perceptual_signal_power, timesteps)
    terms = term_weights(settings, step)
    optional = [name for name, weight in (("own", settings.own), ("prior", settings.prior.weight)) if weight]

    def distance() -> tuple[Array, Metrics]:
        value = distance_loss(config, gaussians, inputs)
        nothing = jnp.zeros((), value.dtype)
        metrics = {name: nothing for name in ("denoise", "novel", *further_terms(settings))} | {"distance": value}
        metrics |= {name: nothing for name in ("own", "prior") if name in optional}
        if settings.log_shares:
            metrics |= weight_metrics(jnp.zeros((len(timesteps), 1)), jnp.ones((len(timesteps), 1), bool))
        return value, metrics

    def weight_metrics(of_views: Array, is_whole: Array) -> Metrics:
        count = jnp.sum(is_whole, axis=1)
        of_samples = jnp.sum(jnp.where(is_whole, of_views, 0.0), axis=1) / jnp.maximum(count, 1)
        of_samples = jnp.where(jnp.any(is_whole), of_samples, jnp.mean(of_views, axis=1))
        return by_noise("denoised_weight", of_samples, count > 0, timesteps, config.diffusion.schedule.steps)

    def rendered() -> tuple[Array, Metrics]:
        rendering = render_targets(
            gaussians,
            targets,
            background=config.background,
            views_at_once=settings.views_at_once,
            backend=config.backend,
            features=None if counted is None else jnp.asarray(counted, jnp.float32)[..., None],
            shown=shown,
        )
        metrics = comparison_losses(
            rendering,
            targets,
            weights,
            terms,
            [name for name in further_terms(settings) if getattr(settings, name)],
            frozen=frozen,
            perceptual_images=settings.perceptual_images,
            perceptual_shares=perceptual_shares,
            key=jax.random.fold_in(key, _PICTURES),
        )
        metrics = {name: jnp.zeros(()) for name in further_terms(settings)} | metrics
        value = terms.denoise * metrics["denoise"] + terms.novel * metrics["novel"]
        for name in further_terms(settings):
            value += getattr(terms, name) * metrics[name]
        if settings.own:
            metrics["own"] = own_loss(config, gaussians, supervised._replace(weights=weights))
            value += settings.own * terms.denoise * metrics["own"]
        if settings.prior.weight:
            of_prior = jax.random.fold_in(key, _PRIOR)
            metrics["prior"] = prior_loss(config, frozen["prior"], gaussians, images.shape[2], of_prior, step)
            value += settings.prior.weight * metrics["prior"]
        if settings.log_shares:
            is_whole = jnp.ones(weights.shape[1:], bool) if shown is None else jnp.all(shown, axis=-1)
            metrics |= weight_metrics(weight_shares(rendering), is_whole)
        return value, metrics | {"distance": jnp.zeros((), value.dtype)}

    if settings.distance_warmup:
        value, metrics = jax.lax.cond(step < settings.distance_warmup, distance, rendered)
    else:
        value, metrics = rendered()
    if counted is not None:
        every = jnp.ones(timesteps.shape, bool)
        share = opacity_share(gaussians, counted)
        metrics |= by_noise("denoised_opacity", share, every, timesteps, config.diffusion.schedule.steps)
    return value, metrics | {"loss": value}


def check_losses(config: LossConfig) -> None:
    """Refuses probabilities that are none, and a prior's settings that make no sense.

    Raises:
        UserError: naming the first.
    """
    for name in ("leave_out_conditions", "leave_out_own"):
        if not 0 <= getattr(config, name) <= 1:
            raise UserError(f"model.losses.{name} must be in [0, 1], not {getattr(config, name)}")
    check_prior(config.prior)


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
