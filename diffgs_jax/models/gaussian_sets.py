"""A set of Gaussians as an array of numbers that noise can be added to, and back: 14 for each Gaussian.

    0-2 position, world units · 3-5 log scale · 6-9 unit quaternion wxyz, w ≥ 0 · 10 logit of the opacity
    11-13 spherical-harmonic coefficients of degree 0

A quaternion and its negative are one rotation, so one of them is chosen. The order of the Gaussians means nothing. A
slot without a Gaussian has an opacity that nothing draws.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import Gaussians

CHANNELS = 14
"""Numbers of a Gaussian."""
OPACITY = 10
"""Which of them is the logit of the opacity."""
UNUSED = -7.0
"""Logit of the opacity in slots without a Gaussian; 1/255, below which nothing is drawn, has −5.5."""
_LOGITS = 6.0
"""Largest logit of a Gaussian that is there: 1 has none."""
_SCALES = -9.0, 1.0
"""Least and largest log scale."""


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each number, over all Gaussians of a data set.

    Attributes:
        mean: 14 numbers.
        std: 14 numbers, above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def set_of_gaussians(gaussians: Gaussians) -> Float[np.ndarray, "n 14"]:
    """Returns a set of Gaussians, those that are drawn nowhere left out, as numbers.

    Args:
        gaussians: one set `[n]`; of its colours degree 0 is kept.

    Raises:
        DataError: if a number is not finite, or nothing is drawn.
    """
    leaves = Gaussians(*(np.asarray(leaf, np.float64) for leaf in gaussians))
    leaves = Gaussians(*(leaf[leaves.opacities >= 1 / 255] for leaf in leaves))
    if not len(leaves.opacities):
        raise DataError("the set has no Gaussian that can be seen")
    rotations = leaves.rotations / np.maximum(np.linalg.norm(leaves.rotations, axis=-1, keepdims=True), 1e-12)
    rotations = np.where(rotations[:, :1] < 0, -rotations, rotations)
    opacities = np.clip(leaves.opacities, 1e-6, 1 - 1e-6)
    logits = np.clip(np.log(opacities) - np.log1p(-opacities), -_LOGITS, _LOGITS)
    scales = np.clip(np.log(np.maximum(leaves.scales, 1e-9)), *_SCALES)
    numbers = np.concatenate([leaves.means, scales, rotations, logits[:, None], leaves.sh[:, 0]], axis=-1)
    if not np.isfinite(numbers).all():
        raise DataError("the set has numbers that are not finite")
    return numbers.astype(np.float32)


def gaussians_of_set(numbers: Float[Array | np.ndarray, "*batch n 14"]) -> Gaussians:
    """Returns numbers as Gaussians `[*batch, n]`, differentiable; scales and opacities stay within what fits have."""
    means, scales, rotations, logits, colors = jnp.split(jnp.asarray(numbers), [3, 6, OPACITY, OPACITY + 1], axis=-1)
    return Gaussians(
        means=means,
        rotations=rotations,
        scales=jnp.exp(jnp.clip(scales, *_SCALES)),
        opacities=jax.nn.sigmoid(jnp.clip(logits[..., 0], -2 * _LOGITS, _LOGITS)),
        sh=colors[..., None, :],
    )


def channel_statistics(sets: list[Float[np.ndarray, "_ 14"]]) -> ChannelStatistics:
    """Returns the statistics of fitted sets, every Gaussian counted alike; of unused slots nothing is counted.

    Raises:
        DataError: if a number is the same in all Gaussians, so that nothing could be learned of it.
    """
    numbers = np.concatenate(sets).astype(np.float64)
    mean, std = numbers.mean(axis=0), numbers.std(axis=0)
    if not (std > 1e-6).all():
        raise DataError(f"number {int(np.argmin(std))} is the same in all {len(numbers)} Gaussians of the data")
    return ChannelStatistics(*(tuple(np.round(values, 5).tolist()) for values in (mean, std)))


def normalized(
    numbers: Float[Array | np.ndarray, "*batch n 14"], statistics: ChannelStatistics
) -> Float[Array, "*batch n 14"]:
    """Returns numbers with mean 0 and deviation 1; unused slots (NaN) are at the mean, but for their opacity."""
    numbers = jnp.asarray(numbers)
    mean, std = (_row(values, numbers.ndim) for values in statistics)
    unused = mean.at[..., OPACITY].set(UNUSED)
    return (jnp.where(jnp.isnan(numbers), unused, numbers) - mean) / std


def denormalized(
    x: Float[Array | np.ndarray, "*batch n 14"], statistics: ChannelStatistics
) -> Float[Array, "*batch n 14"]:
    """Undoes `normalized`."""
    mean, std = (_row(values, x.ndim) for values in statistics)
    return jnp.asarray(x) * std + mean


def _row(values: tuple[float, ...], axes: int) -> Float[Array, "..."]:
    return jnp.asarray(values, jnp.float32).reshape((1,) * (axes - 1) + (CHANNELS,))
