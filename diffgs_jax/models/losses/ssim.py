"""Structural similarity, a metric that can also be descended."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.errors import UserError

_RADIUS = 5  # 3.5 standard deviations of 1.5 pixels, rounded
_SIGMA = 1.5

SSIM_WINDOW = 2 * _RADIUS + 1
"""Height and width of a window, pixels."""


def ssim(
    predicted: Float[Array | np.ndarray, "*batch h w c"], target: Float[Array | np.ndarray, "*batch h w c"]
) -> Float[Array, "*batch"]:
    """Returns the structural similarity (Wang et al. 2004), in [−1, 1], mean over channels and pixels.

    Gaussian window of standard deviation 1.5 over 11×11 pixels, K₁ = 0.01, K₂ = 0.03, weighted (not sample)
    covariances, data range 1, and only windows that lie wholly inside the picture: what scikit-image computes with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1`.

    Raises:
        UserError: if the picture is smaller than a window.
    """
    return jnp.mean(ssim_map(predicted, target), axis=(-3, -2, -1))


def ssim_map(
    predicted: Float[Array | np.ndarray, "*batch h w c"], target: Float[Array | np.ndarray, "*batch h w c"]
) -> Float[Array, "*batch rows columns c"]:
    """Returns the similarity of every window that lies wholly inside the picture; see `ssim`, which is its mean.

    Element (i, j) is the window over rows i to i + `SSIM_WINDOW` − 1 and as many columns from j.

    Raises:
        UserError: if the picture is smaller than a window.
    """
    x, y = jnp.asarray(predicted), jnp.asarray(target)
    height, width = x.shape[-3:-1]
    vertical, horizontal = _window_matrix(height), _window_matrix(width)

    def blur(image: Array) -> Array:
        return jnp.einsum("ih,...hwc,jw->...ijc", vertical, image, horizontal, precision="highest")

    # Covariances do not depend on the origin of grey levels: about 1/2 their float32 error is smallest.
    x_moved, y_moved = x - 0.5, y - 0.5
    mean_x, mean_y = blur(x_moved), blur(y_moved)
    variance_x = blur(x_moved**2) - mean_x**2
    variance_y = blur(y_moved**2) - mean_y**2
    covariance = blur(x_moved * y_moved) - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))


def _window_matrix(size: int) -> Float[np.ndarray, "windows {size}"]:
    """Returns the matrix that takes the Gaussian-weighted mean over every whole window of a row of `size` pixels."""
    taps = SSIM_WINDOW
    if size < taps:
        raise UserError(f"SSIM needs pictures of at least {taps} x {taps} pixels, not {size}")
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    return np.stack([np.pad(weights, (i, size - taps - i)) for i in range(size - taps + 1)]).astype(np.float32)
