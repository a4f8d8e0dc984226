"""The rasterizer by its definition: every Gaussian against every pixel, differentiated by autodiff.

This is what the tiled path is held against. It needs memory like Gaussians × pixels: keep it for tests and small
images.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffgs_jax.rasterizer.projection import ALPHA_MIN, Projection

ALPHA_MAX = 0.99
"""Alphas are clamped here, so that no single Gaussian makes what is behind it vanish (3DGS)."""

TRANSMITTANCE_MIN = 1e-4
"""Blending stops, for good, at the Gaussian that would take transmittance below this (3DGS)."""


def blend_dense(
    projection: Projection,
    channels: Float[Array, "*batch n c"],
    *,
    height: int,
    width: int,
) -> tuple[Float[Array, "*batch h w c"], Float[Array, "*batch h w"]]:
    """Blends channels front to back, and returns them with the transmittance that is left.

    Args:
        projection: 2D Gaussians, in any order.
        channels: what is blended.
        height: of the image, pixels.
        width: of the image, pixels.
    """
    depths = jnp.where(projection.is_visible, projection.depths, jnp.inf)
    order = jnp.argsort(depths, axis=-1, stable=True)

    def sort(values: Array) -> Array:
        index = order.reshape(order.shape + (1,) * (values.ndim - order.ndim))
        return jnp.take_along_axis(values, index, axis=order.ndim - 1)

    means, conics = sort(projection.means)[..., None, None, :, :], sort(projection.conics)[..., None, None, :, :]
    opacity = sort(jnp.where(projection.is_visible, projection.opacities, 0.0))[..., None, None, :]
    lead = (1,) * (order.ndim - 1)
    column = (jnp.arange(width, dtype=means.dtype) + 0.5).reshape((*lead, 1, width, 1))
    row = (jnp.arange(height, dtype=means.dtype) + 0.5).reshape((*lead, height, 1, 1))
    x, y = column - means[..., 0], row - means[..., 1]
    power = 0.5 * (conics[..., 0] * x * x + conics[..., 2] * y * y) + conics[..., 1] * x * y
    is_near = (power >= 0.0) & (power < 100.0)
    alpha = jnp.minimum(ALPHA_MAX, opacity * jnp.exp(-jnp.where(is_near, power, 100.0)))
    alpha = jnp.where(is_near & (alpha >= ALPHA_MIN), alpha, 0.0)

    # The stop is sticky because the product, were it never stopped, only falls.
    inclusive = jnp.cumprod(1.0 - jax.lax.stop_gradient(alpha), axis=-1)
    alpha = jnp.where(inclusive >= TRANSMITTANCE_MIN, alpha, 0.0)
    passed = jnp.cumsum(jnp.log1p(-alpha), axis=-1)
    before = jnp.concatenate([jnp.zeros_like(passed[..., :1]), passed[..., :-1]], axis=-1)
    weights = jnp.exp(before) * alpha
    blended = jnp.einsum("...hwn,...nc->...hwc", weights, sort(channels), precision=jax.lax.Precision.HIGHEST)
    return blended, jnp.exp(passed[..., -1])
