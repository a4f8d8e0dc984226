"""How close a predicted view is to the true one: pure functions, batched, differentiable where that makes sense.

Images are in [0, 1], channels last, composited on the same background; every metric returns one number a view.
"""

from collections.abc import Mapping
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffgs_jax.models.perceptual import LPIPSWeights, Network, is_installed, lpips, smallest_size, ssim

ALPHA_THRESHOLD = 0.5
"""A pixel belongs to the object where alpha is above this."""

_LPIPS_CHUNK = 16  # pairs that are in memory at a time: at 256 x 256 VGG16 holds 40 MB of each picture

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
    lpips_weights: Mapping[Network, LPIPSWeights] | None = None,
) -> dict[str, Float[Array, "*batch"]]:
    """Returns every metric of a table by its name: `bbox_psnr`, `psnr`, `ssim`, `alpha_iou`, `lpips_vgg`, `lpips_alex`.

    Args:
        predicted: views as a model or a baseline has them.
        predicted_alpha: their coverage.
        target: views as they are.
        target_alpha: their coverage.
        lpips_weights: of each network that LPIPS is wanted of; none by default.
    """
    scores = {
        "bbox_psnr": bounding_box_psnr(predicted, target, target_alpha),
        "psnr": psnr(predicted, target),
        "ssim": ssim(predicted, target),
        "alpha_iou": alpha_iou(predicted_alpha, target_alpha),
    }
    for network, weights in (lpips_weights or {}).items():
        scores[f"lpips_{network}"] = lpips_of_views(weights, predicted, target)
    return scores


def lpips_of_views(
    weights: LPIPSWeights,
    predicted: Float[Array | np.ndarray, "*batch h w 3"],
    target: Float[Array | np.ndarray, "*batch h w 3"],
) -> Float[Array, "*batch"]:
    """Returns LPIPS (`models.perceptual.lpips`) of each pair, a few pairs at a time; predictions are clipped to [0, 1].

    Raises:
        UserError: if the pictures are too small for the network.
    """
    batch, picture = predicted.shape[:-3], predicted.shape[-3:]
    pairs = (
        jnp.clip(jnp.asarray(predicted), 0.0, 1.0).reshape(-1, *picture),
        jnp.asarray(target).reshape(-1, *picture),
    )
    each = jax.lax.map(lambda pair: lpips(weights, *(x[None] for x in pair))[0], pairs, batch_size=_LPIPS_CHUNK)
    return each.reshape(batch)


def usable_lpips(resolution: int) -> tuple[Network, ...]:
    """Returns the networks whose weights are installed and that pictures of a resolution are large enough for."""
    return tuple(name for name in get_args(Network) if is_installed(name) and resolution >= smallest_size(name))


def _decibels(mean_squared_error: Array) -> Array:
    return -10.0 * jnp.log10(jnp.maximum(mean_squared_error, 10.0 ** (-PSNR_LIMIT / 10)))


def _between_ends(flags: Bool[Array, "*batch n"]) -> Bool[Array, "*batch n"]:
    """Fills everything between the first and the last True."""
    after_first = jnp.cumsum(flags, axis=-1) > 0
    before_last = jnp.flip(jnp.cumsum(jnp.flip(flags, axis=-1), axis=-1), axis=-1) > 0
    return after_first & before_last
