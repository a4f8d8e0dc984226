"""Guidance: denoisers made of denoisers, which every sampler and score distillation take like any other.

All of it is written for x̂_0. Since x_t = α x_0 + σ ε, moving the predicted noise by −σ g, which is moving the score by
g, is moving x̂_0 by (σ² / α) g; and rules that are linear in the predictions are the same for x_0, ε, v and the flow.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Num

from diffgs_jax.diffusion.predictions import Prediction, alpha_and_sigma
from diffgs_jax.diffusion.sampling import Denoise
from diffgs_jax.diffusion.schedules import Schedule

Scale = float | Float[Array, "..."] | Callable[[Num[Array, "b"]], Float[Array, "..."]]
"""How strong guidance is: a number; an array with as many axes as x, each of x's length or 1, `[1, v, 1, 1, 1]` for a
scale per view; or a function from timesteps `[b]` to one of these, or to `[b]`, for a scale per step."""

LogProbability = Callable[[Float[Array, "b *shape"], Num[Array, "b"]], Float[Array, "b"]]
"""log p(y | x_t) of noisy arrays and their timesteps, up to a constant."""

SampleLoss = Callable[[Prediction], Float[Array, "..."]]
"""What to make small of a prediction: of its clean array, or of its aux, for example Gaussians; one number a sample, or
one number in which every sample's loss is summed."""


def classifier_free_guidance(
    conditional: Denoise,
    unconditional: Denoise,
    scale: Scale,
    *,
    notation: Literal["scale", "weight"] = "scale",
) -> Denoise:
    """Pushes a conditional denoiser away from an unconditional one: x̂_0 = u + scale · (c − u).

    Two notations are in use for one rule. Ho & Salimans 2022, eq. 6, write (1 + w) c − w u, where w = 0 is the
    conditional prediction; most code, this function and everything in this package write u + s (c − u), where s = 1
    is. So s = 1 + w.

    The aux is the conditional denoiser's as it stands: where x_0 is a rendering of it, the guided x_0 no longer is.

    Args:
        conditional: given the condition.
        unconditional: not given it, or given a negative one.
        scale: 1 returns the conditional prediction, 0 the unconditional one.
        notation: whether `scale` is s, or the w of the paper.
    """

    def denoise(x: Float[Array, "b *shape"], t: Num[Array, "b"]) -> Prediction:
        factor = scale_at(scale, x, t)
        without, (x0, aux) = unconditional(x, t).x0, conditional(x, t)
        if notation == "weight":
            return Prediction((1 + factor) * x0 - factor * without, aux)
        return Prediction(without + factor * (x0 - without), aux)

    return denoise


def triangle_scales(views: int, lowest: float, highest: float) -> Float64[np.ndarray, "{views}"]:
    """Returns a scale of guidance for each view: the lowest for the first, rising evenly and falling again.

    Views away from the given one need more guidance to agree with it (DiffSplat, Lin et al. 2025).

    Args:
        views: how many, at least 1.
        lowest: scale of the first view.
        highest: scale of view ⌊views / 2⌋.
    """
    rising = np.linspace(lowest, highest, views // 2 + 1)
    falling = np.linspace(highest, lowest, views - len(rising) + 2)[1:-1]
    return np.concatenate([rising, falling])


def perpendicular_guidance(
    positive: Denoise, unconditional: Denoise, negatives: Sequence[tuple[Denoise, Scale]], scale: Scale
) -> Denoise:
    """Stays away from negative conditions without undoing the positive one: Perp-Neg (Armandpour et al. 2023).

    x̂_0 = u + scale · (p + Σ wᵢ nᵢ⊥), with p = x̂_0(positive) − u, nᵢ = x̂_0(negativeᵢ) − u and nᵢ⊥ the part of nᵢ at
    right angles to p, sample by sample. Weights are below 0 to stay away.

    Args:
        positive: given the condition.
        unconditional: given none.
        negatives: denoisers and weights.
        scale: of all of it.
    """

    def denoise(x: Float[Array, "b *shape"], t: Num[Array, "b"]) -> Prediction:
        base, (x0, aux) = unconditional(x, t).x0, positive(x, t)
        towards = x0 - base
        axes = tuple(range(1, x.ndim))
        length = jnp.maximum(jnp.sum(towards**2, axis=axes, keepdims=True), 1e-12)
        total = towards
        for negative, weight in negatives:
            away = negative(x, t).x0 - base
            along = jnp.sum(away * towards, axis=axes, keepdims=True) / length
            total = total + scale_at(weight, x, t) * (away - along * towards)
        return Prediction(base + scale_at(scale, x, t) * total, aux)

    return denoise


def classifier_guidance(
    denoise: Denoise, log_probability: LogProbability, schedule: Schedule, scale: Scale = 1.0
) -> Denoise:
    """Pushes towards what a classifier of noisy arrays takes for y (Dhariwal & Nichol 2021, algorithm 2).

    x̂_0 + scale · (σ² / α) ∇ log p(y | x_t), which is ε̂ − scale · σ ∇ log p(y | x_t). With scale 1 it is the denoiser of
    p(x_0 | y), exactly, where denoiser and classifier are exact.

    Args:
        denoise: of p(x_0).
        log_probability: of y.
        schedule: what both were trained with.
        scale: above 1, p(y | x_t)^scale takes the place of p(y | x_t).
    """

    def guided(x: Float[Array, "b *shape"], t: Num[Array, "b"]) -> Prediction:
        gradient = jax.grad(lambda x: jnp.sum(log_probability(x, t)))(x)
        prediction = denoise(x, t)
        return _moved(prediction, schedule, x, t, scale_at(scale, x, t) * gradient)

    return guided


def loss_guidance(
    denoise: Denoise,
    loss: SampleLoss,
    schedule: Schedule,
    scale: Scale = 1.0,
    *,
    through: Literal["denoiser", "prediction"] = "denoiser",
) -> Denoise:
    """Pushes towards predictions of small loss: any differentiable function of the clean array or of the aux.

    `through="denoiser"` takes exp(−scale · loss(x̂_0(x_t))) for p(y | x_t): x̂_0 − scale · (σ² / α) ∇_{x_t} loss
    (reconstruction guidance, Ho et al. 2022, eq. 7; diffusion posterior sampling, Chung et al. 2023). For
    Gaussian data, y = x_0 + N(0, r²), loss ½ ‖x̂_0 − y‖² and scale 1 / (r² + var(x_0 | x_t)) it is exact.
    `through="prediction"` costs no gradient of the network: x̂_0 − scale · ∇_{x̂_0} loss, a step on the prediction
    itself, which a loss of the aux does not see.

    Args:
        denoise: what is guided.
        loss: of its prediction.
        schedule: of the denoiser.
        scale: see above.
        through: where the gradient goes.
    """

    def guided(x: Float[Array, "b *shape"], t: Num[Array, "b"]) -> Prediction:
        factor = scale_at(scale, x, t)
        if through == "prediction":
            prediction = denoise(x, t)
            gradient = jax.grad(lambda x0: jnp.sum(loss(prediction._replace(x0=x0))))(prediction.x0)
            return prediction._replace(x0=prediction.x0 - factor * gradient)

        def total(x: Array) -> tuple[Array, Prediction]:
            prediction = denoise(x, t)
            return jnp.sum(loss(prediction)), prediction

        gradient, prediction = jax.grad(total, has_aux=True)(x)
        return _moved(prediction, schedule, x, t, -factor * gradient)

    return guided


def scale_within(scale: float | Float[Array, "..."], first: float, last: float, outside: float = 1.0) -> Scale:
    """Returns a scale that holds for timesteps in [first, last] only (Kynkäänniemi et al. 2024).

    Args:
        scale: there; a number, or an array as `Scale` says.
        first: least noisy timestep that is guided, as told to the denoiser.
        last: noisiest one.
        outside: the scale elsewhere; 1 leaves classifier-free guidance out, 0 the others.
    """

    def at(t: Num[Array, "b"]) -> Float[Array, "..."]:
        inside, value = (t >= first) & (t <= last), jnp.asarray(scale)
        inside = inside.reshape(t.shape + (1,) * max(value.ndim - 1, 0))
        return jnp.where(inside, value if value.ndim else value[None], outside)

    return at


def scale_at(scale: Scale, x: Float[Array, "b *shape"], t: Num[Array, "b"]) -> Float[Array, "..."]:
    """Returns a scale at given timesteps, so that it broadcasts against x.

    Raises:
        ValueError: if it does not go with x.
    """
    factor = jnp.asarray(scale(t) if callable(scale) else scale, x.dtype)
    if callable(scale) and factor.shape == t.shape:
        factor = factor.reshape(t.shape + (1,) * (x.ndim - 1))
    if factor.ndim not in (0, x.ndim):
        raise ValueError(f"a guidance scale of shape {factor.shape} does not go with an array of shape {x.shape}")
    return factor


def _moved(prediction: Prediction, schedule: Schedule, x: Array, t: Array, score: Array) -> Prediction:
    """Returns a prediction whose score has `score` added; where there is no signal, which implies no x_0, as it is."""
    alpha, sigma = alpha_and_sigma(schedule, t, x)
    gain = jnp.where(alpha > 0, sigma**2 / jnp.where(alpha > 0, alpha, 1.0), 0.0)
    return prediction._replace(x0=prediction.x0 + gain * score)
