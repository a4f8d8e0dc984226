"""Guidance: denoisers made of denoisers."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffgs_jax.diffusion.predictions import Prediction
from diffgs_jax.diffusion.sampling import Denoise


def classifier_free_guidance(
    conditional: Denoise, unconditional: Denoise, scale: float | Float[Array, "..."]
) -> Denoise:
    """Pushes a conditional denoiser away from an unconditional one: x̂_0 = u + scale · (c − u).

    Ho & Salimans 2022, eq. 6, with scale = 1 + w. It is the same rule for x_0, ε and v, which are linear in one another
    at a given x_t. The aux is the conditional denoiser's as it stands: where x_0 is a rendering of it, the guided x_0
    no longer is.

    Args:
        conditional: given the condition.
        unconditional: not given it.
        scale: 1 returns the conditional prediction, 0 the unconditional one. A scalar, or an array with as many axes as
            x, each of x's length or 1: `[1, v, 1, 1, 1]` for a scale per view.
    """

    def denoise(x: Float[Array, "b *shape"], t: Int[Array, "b"]) -> Prediction:
        factor = jnp.asarray(scale, x.dtype)
        if factor.ndim not in (0, x.ndim):
            raise ValueError(f"a guidance scale of shape {factor.shape} does not go with an array of shape {x.shape}")
        without, (x0, aux) = unconditional(x, t).x0, conditional(x, t)
        return Prediction(without + factor * (x0 - without), aux)

    return denoise
