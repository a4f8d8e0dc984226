"""Guidance: denoisers made of denoisers."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from diffgs_jax.diffusion.predictions import Prediction
from diffgs_jax.diffusion.sampling import Denoise


def classifier_free_guidance(
    conditional: Denoise, unconditional: Denoise, scale: float | Float[Array, "..."]
) -> Denoise:
    """Pushes a conditional denoiser away from an unconditional one: x̂_0 = u + scale · (c − u).

    Two notations are in use for one rule. Ho & Salimans 2022, eq. 6, write (1 + w) c − w u, where w = 0 is the
    conditional prediction; most code, this function and everything in this package write u + s (c − u), where s = 1
    is. So scale = s = 1 + w. The rule is the same for x_0, ε, v and the flow, which are linear in one another at a
    given x_t.

    The aux is the conditional denoiser's as it stands: where x_0 is a rendering of it, the guided x_0 no longer is.

    Args:
        conditional: given the condition.
        unconditional: not given it, or given a negative one.
        scale: 1 returns the conditional prediction, 0 the unconditional one. A scalar, or an array with as many axes as
            x, each of x's length or 1: `[1, v, 1, 1, 1]` for a scale per view.
    """

    def denoise(x: Float[Array, "b *shape"], t: Num[Array, "b"]) -> Prediction:
        factor = jnp.asarray(scale, x.dtype)
        if factor.ndim not in (0, x.ndim):
            raise ValueError(f"a guidance scale of shape {factor.shape} does not go with an array of shape {x.shape}")
        without, (x0, aux) = unconditional(x, t).x0, conditional(x, t)
        return Prediction(without + factor * (x0 - without), aux)

    return denoise
