"""How close a predicted view is to the true one: pure functions, batched, differentiable where that makes sense.

Images are in [0, 1], channels last, composited on the same background; every metric returns one number a view.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffgs_jax.models.losses import SSIM_WINDOW, ssim, ssim_map

ALPHA_THRESHOLD = 0.5
"""A pixel belongs to the object where alpha is above this."""

PSNR_LIMIT = 100.0
"""PSNR of equal pictures, dB; without a limit it would be infinite, and so would every mean that it enters."""


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


def box_edges(
    alpha: Float[Array | np.ndarray, "*batch h w"], least: int = 1
) -> tuple[Int[Array, "*batch"], Int[Array, "*batch"], Int[Array, "*batch"], Int[Array, "*batch"]]:
    """Returns (top, bottom, left, right) of the `bounding_box`, pixels; bottom and right are not part of it.

    Args:
        alpha: coverage.
        least: a side that is shorter is lengthened to this on both ends alike, or towards the inside at the border.
    """
    box = bounding_box(alpha)
    top, bottom = _ends(jnp.any(box, axis=-1), least)
    left, right = _ends(jnp.any(box, axis=-2), least)
    return top, bottom, left, right


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


def bounding_box_ssim(
    predicted: Float[Array | np.ndarray, "*batch h w c"],
    target: Float[Array | np.ndarray, "*batch h w c"],
    target_alpha: Float[Array | np.ndarray, "*batch h w"],
) -> Float[Array, "*batch"]:
    """Returns the SSIM of the pictures cropped to the `bounding_box` of the true object, in [−1, 1].

    Neural Body (Peng et al. 2021) scores people so: the crop is a picture of its own, and only windows that lie wholly
    inside it count. A side shorter than a window is lengthened to one.

    Raises:
        UserError: if the picture is smaller than a window.
    """
    similarity = jnp.mean(ssim_map(predicted, target), axis=-1)
    top, bottom, left, right = box_edges(target_alpha, SSIM_WINDOW)

    def whole_windows(first: Array, last: Array, count: int) -> Array:
        starts = jnp.arange(count).reshape((1,) * first.ndim + (count,))
        return (starts >= first[..., None]) & (starts + SSIM_WINDOW <= last[..., None])

    rows = whole_windows(top, bottom, similarity.shape[-2])
    columns = whole_windows(left, right, similarity.shape[-1])
    inside = rows[..., :, None] & columns[..., None, :]
    return jnp.sum(similarity * inside, axis=(-2, -1)) / jnp.sum(inside, axis=(-2, -1))


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
    target_alpha: Float[Array | np.ndarray, "*batch h w"] | None,
) -> dict[str, Float[Array, "*batch"]]:
    """Returns the metrics that need no network by name: `bbox_psnr`, `psnr`, `bbox_ssim`, `ssim`, `alpha_iou`.

    Args:
        predicted: views as a model or a baseline has them.
        predicted_alpha: their coverage.
        target: views as they are.
        target_alpha: their coverage; None for scenes, which fill the picture: then `psnr` and `ssim` alone.
    """
    scores = {"psnr": psnr(predicted, target), "ssim": ssim(predicted, target)}
    if target_alpha is None:
        return scores
    return scores | {
        "bbox_psnr": bounding_box_psnr(predicted, target, target_alpha),
        "bbox_ssim": bounding_box_ssim(predicted, target, target_alpha),
        "alpha_iou": alpha_iou(predicted_alpha, target_alpha),
    }


def _decibels(mean_squared_error: Array) -> Array:
    return -10.0 * jnp.log10(jnp.maximum(mean_squared_error, 10.0 ** (-PSNR_LIMIT / 10)))


def _between_ends(flags: Bool[Array, "*batch n"]) -> Bool[Array, "*batch n"]:
    """Fills everything between the first and the last True."""
    after_first = jnp.cumsum(flags, axis=-1) > 0
    before_last = jnp.flip(jnp.cumsum(jnp.flip(flags, axis=-1), axis=-1), axis=-1) > 0
    return after_first & before_last


def _ends(flags: Bool[Array, "*batch n"], least: int) -> tuple[Int[Array, "*batch"], Int[Array, "*batch"]]:
    """Returns the first True and what follows the last, of a run of Trues lengthened to `least`."""
    size = flags.shape[-1]
    first, count = jnp.argmax(flags, axis=-1), jnp.sum(flags, axis=-1)
    length = jnp.clip(count, min(least, size), size)
    start = jnp.clip(first - (length - count) // 2, 0, size - length)
    return start, start + length
