"""Score distillation: what a denoiser says about how an array should change to be more like what it was trained on.

An array x, for example renderings of Gaussians, is noised, x_t = α x + σ ε, and the denoiser is asked for the noise in
it: where it finds another noise than was put there, ε̂ − ε points from where it would have x to where x is
(DreamFusion, Poole et al. 2023, eq. 3). Through `pull` that becomes the gradient of x.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Num, PRNGKeyArray

from diffgs_jax.diffusion.distillation_kinds import Annealing, DistillationWeight
from diffgs_jax.diffusion.predictions import add_noise, alpha_and_sigma, from_x0
from diffgs_jax.diffusion.sampling import Denoise
from diffgs_jax.diffusion.schedules import Schedule


class Distilled(NamedTuple):
    """What one denoiser had to say about an array.

    Attributes:
        gradient: w(t) (ε̂ − ε), of x's shape; what to go against.
        x_t: the noisy array.
        noise: ε̂, the predicted noise.
    """

    gradient: Float[Array, "b *shape"]
    x_t: Float[Array, "b *shape"]
    noise: Float[Array, "b *shape"]


def distillation_gradient(
    denoise: Denoise,
    schedule: Schedule,
    x: Float[Array, "b *shape"],
    t: Int32[Array, "b"],
    noise: Float[Array, "b *shape"],
    *,
    weight: DistillationWeight = "variance",
    baseline: Denoise | None = None,
    keep_jacobian: bool = False,
) -> Distilled:
    """Returns w(t) (ε̂(x_t) − ε), the gradient of score distillation sampling; nothing of it is differentiated.

    For data N(m, s² I) its mean over the noise is w σ α (x − m) / (α² s² + σ²).

    Args:
        denoise: the prior, guided or not.
        schedule: what it was trained with.
        x: the clean array.
        t: rows of the schedule.
        noise: ε, standard normal.
        weight: w(t).
        baseline: with one, w(t) (ε̂ − ε̂_baseline) instead: variational score distillation (ProlificDreamer, Wang et al.
            2023), where it is trained on the renderings themselves. A baseline that knows nothing but x itself
            says ε, and both are the same.
        keep_jacobian: multiply by ∂ε̂/∂x_t, as the gradient of ½ w ‖ε̂ − ε‖² by x_t has it (DreamFusion, eq. 2, α
            absorbed into w): for the teaching page and its test. It costs a backward pass through the network and turns
            most of the gradient off where the noise is small, which is why it is left out.
    """
    x, told = jax.lax.stop_gradient(x), jnp.asarray(schedule.timesteps)[t]
    x_t = add_noise(schedule, x, t, noise)

    def predicted(of: Denoise, x_t: Array) -> Array:
        return from_x0(schedule, "epsilon", of(x_t, told).x0, x_t, t)

    if keep_jacobian:
        found, pull_back = jax.vjp(lambda x_t: predicted(denoise, x_t), x_t)
    else:
        found, pull_back = predicted(denoise, x_t), None
    difference = found - (noise if baseline is None else predicted(baseline, x_t))
    if pull_back is not None:
        (difference,) = pull_back(difference)
    gradient = _weight(weight, schedule, t, x) * difference
    return Distilled(*map(jax.lax.stop_gradient, (gradient, x_t, found)))


def pull(x: Float[Array, "*shape"], gradient: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Returns a scalar whose gradient by x is `gradient` / the size of x, whatever the gradient was made of.

    ½ mean (x − target)², the target x − gradient held fixed (DreamGaussian's and threestudio's form, whose sum over an
    image it divides by its size, so that weights do not depend on the resolution). Its value says how much is pulled.
    """
    target = jax.lax.stop_gradient(x - gradient)
    return 0.5 * jnp.mean((x - target) ** 2)


def distillation_timesteps(
    key: PRNGKeyArray,
    batch: int,
    schedule: Schedule,
    progress: float | Float[Array, ""] = 0.0,
    *,
    annealing: Annealing = "random",
    low: float = 0.02,
    high: float = 0.98,
) -> Int32[Array, "{batch}"]:
    """Draws the rows of a schedule at which a batch is noised, or says them.

    Args:
        key: randomness of `random`; the others have none.
        batch: how many.
        schedule: of T rows.
        progress: of the optimization, in [0, 1].
        annealing: `linear` is clip((1 − progress) T, low T, high T), `sqrt` is high T − (high − low) T √progress.
        low: smallest timestep, relative to T.
        high: largest one.
    """
    steps = schedule.steps
    first, last = round(low * steps), round(high * steps)
    if annealing == "random":
        return jax.random.randint(key, (batch,), first, max(last, first) + 1).clip(0, steps - 1)
    done = jnp.clip(jnp.asarray(progress, jnp.float32), 0.0, 1.0)
    at = (1 - done) * steps if annealing == "linear" else last - (last - first) * jnp.sqrt(done)
    row = jnp.clip(jnp.round(jnp.clip(at, first, last)).astype(jnp.int32), 0, steps - 1)
    return jnp.broadcast_to(row, (batch,))


class ViewShares(NamedTuple):
    """How much of each name of a direction an azimuth has; they sum to 1.

    Attributes:
        front: `[*shape]`.
        side: `[*shape]`.
        back: `[*shape]`.
    """

    front: Float[Array, "*shape"]
    side: Float[Array, "*shape"]
    back: Float[Array, "*shape"]


def view_shares(azimuths: Num[Array, "*shape"]) -> ViewShares:
    """Returns the mixture of front, side and back that views are described by, linear between them.

    Prompts and classes that depend on the view, and their interpolation by the azimuth (Armandpour et al. 2023), keep a
    prior from showing the front everywhere (the Janus problem).

    Args:
        azimuths: degrees from the front, any.
    """
    turned = jnp.abs((azimuths + 180.0) % 360.0 - 180.0) / 90.0  # 0 in front, 1 at a side, 2 behind
    return ViewShares(
        jnp.clip(1 - turned, 0.0, 1.0), jnp.clip(1 - jnp.abs(turned - 1), 0.0, 1.0), jnp.clip(turned - 1, 0.0, 1.0)
    )


def _weight(kind: DistillationWeight, schedule: Schedule, t: Array, like: Array) -> Array:
    if kind == "one":
        return jnp.ones((), like.dtype)
    return alpha_and_sigma(schedule, t, like)[1] ** 2
