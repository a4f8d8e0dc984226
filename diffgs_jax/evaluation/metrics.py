"""How close a predicted view is to the true one: pure functions, batched, differentiable where that makes sense.

Images are in [0, 1], channels last, composited on the same background; every metric returns one number a view.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

ALPHA_THRESHOLD = 0.5
"""A pixel belongs to the object where alpha is above this."""

PSNR_LIMIT = 100.0
"""PSNR of equal pictures, dB; without a limit it would be infinite, and so would every mean that it enters."""

_SSIM_RADIUS = 5  # 3.5 standard deviations of 1.5 pixels, rounded
_SSIM_SIGMA = 1.5


def psnr(
    predicted: Float[Array | np.ndarray, "*batch h w c"], target: Float[Array | np.ndarray, "*batch h w c"]
) -> Float[Array, "*batch"]:
    """Returns −10 log₁₀ of the mean squared error over all pixels and channels, dB, at most `PSNR_LIMIT`."""
    squared = (jnp.asarray(predicted) - jnp.asarray(target)) ** 2
    return _decibels(jnp.mean(squared, axis=(-3, -2, -1)))


def bounding_box(alpha: Float[Array | np.ndarray, "*batch h w"]) -> Bool[Array, "*batch h w"]:
    """Returns the smallest upright rectangle around the pixels whose alpha is above `ALPHA_THRESHOLD`, as a mask.

    Its border pixels are part of it and it is not padded. Where no pixel is above, it is the whole picture.
    """
    covered = jnp.asarray(alpha) > ALPHA_THRESHOLD
    rows, columns = jnp.any(covered, axis=-1), jnp.any(covered, axis=-2)
    box = _between_ends(rows)[..., :, None] & _between_ends(columns)[..., None, :]
    return box | ~jnp.any(covered, axis=(-2, -1), keepdims=True)


def bounding_box_psnr(
    predicted: Float[Array | np.ndarray, "*batch h w c"],
    target: Float[Array | np.ndarray, "*batch h w c"],
    target_alpha: Float[Array | np.ndarray, "*batch h w"],
) -> Float[Array, "*batch"]:
    """Returns the PSNR over the `bounding_box` of the true object, dB.

    The mean squared error is over all pixels of the box and all channels, background inside the box included; what
    the prediction paints outside it does not count. Empty background, which any model gets right, makes plain PSNR
    say more about an object's size than about the prediction; this does not.
    """
    box = bounding_box(target_alpha).astype(jnp.float32)
    squared = jnp.mean((jnp.asarray(predicted) - jnp.asarray(target)) ** 2, axis=-1)
    return _decibels(jnp.sum(box * squared, axis=(-2, -1)) / jnp.sum(box, axis=(-2, -1)))


def ssim(
    predicted: Float[Array | np.ndarray, "*batch h w c"], target: Float[Array | np.ndarray, "*batch h w c"]
) -> Float[Array, "*batch"]:
    """Returns the structural similarity (Wang et al. 2004), in [−1, 1], mean over channels and pixels.

    Gaussian window of standard deviation 1.5 over 11×11 pixels, K₁ = 0.01, K₂ = 0.03, weighted (not sample)
    covariances, data range 1, and only windows that lie wholly inside the picture: what scikit-image computes with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1`.

    Raises:
        ValueError: if the picture is smaller than a window.
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
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return jnp.mean(similarity, axis=(-3, -2, -1))


def alpha_iou(
    predicted_alpha: Float[Array | np.ndarray, "*batch h w"], target_alpha: Float[Array | np.ndarray, "*batch h w"]
) -> Float[Array, "*batch"]:
    """Returns intersection over union of the two silhouettes, alpha above `ALPHA_THRESHOLD`; 1 if both are empty."""
    predicted = jnp.asarray(predicted_alpha) > ALPHA_THRESHOLD
    target = jnp.asarray(target_alpha) > ALPHA_THRESHOLD
    intersection = jnp.sum(predicted & target, axis=(-2, -1))
    union = jnp.sum(predicted | target, axis=(-2, -1))
    return jnp.where(union == 0, 1.0, intersection / jnp.maximum(union, 1))


def score_views(
    predicted: Float[Array | np.ndarray, "*batch h w c"],
    predicted_alpha: Float[Array | np.ndarray, "*batch h w"],
    target: Float[Array | np.ndarray, "*batch h w c"],
    target_alpha: Float[Array | np.ndarray, "*batch h w"],
) -> dict[str, Float[Array, "*batch"]]:
    """Returns every metric of a table by its name: `bbox_psnr`, `psnr`, `ssim` and `alpha_iou`."""
    return {
        "bbox_psnr": bounding_box_psnr(predicted, target, target_alpha),
        "psnr": psnr(predicted, target),
        "ssim": ssim(predicted, target),
        "alpha_iou": alpha_iou(predicted_alpha, target_alpha),
    }


def _decibels(mean_squared_error: Array) -> Array:
    return -10.0 * jnp.log10(jnp.maximum(mean_squared_error, 10.0 ** (-PSNR_LIMIT / 10)))


def _between_ends(flags: Bool[Array, "*batch n"]) -> Bool[Array, "*batch n"]:
    """Fills everything between the first and the last True."""
    after_first = jnp.cumsum(flags, axis=-1) > 0
    before_last = jnp.flip(jnp.cumsum(jnp.flip(flags, axis=-1), axis=-1), axis=-1) > 0
    return after_first & before_last


def _window_matrix(size: int) -> Float[np.ndarray, "windows {size}"]:
    """Returns the matrix that takes the Gaussian-weighted mean over every whole window of a row of `size` pixels."""
    taps = 2 * _SSIM_RADIUS + 1
    if size < taps:
        raise ValueError(f"SSIM needs pictures of at least {taps} x {taps} pixels, not {size}")
    weights = np.exp(-0.5 * (np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1) / _SSIM_SIGMA) ** 2)
    weights /= weights.sum()
    return np.stack([np.pad(weights, (i, size - taps - i)) for i in range(size - taps + 1)]).astype(np.float32)
