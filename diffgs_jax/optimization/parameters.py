"""Gaussians as what gradient descent moves: unbounded numbers, in a fixed number of slots, some of them unused."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians

_LEAST, _MOST = 1e-6, 1 - 1e-6
"""Opacities beyond are taken for these: 0 and 1 have no logit."""
_SMALLEST_SCALE = 1e-9
_SLOTS = 1024


class Parameters(NamedTuple):
    """Slots for `n` Gaussians, before their activations (Kerbl et al. 2023, section 5.1).

    Attributes:
        means: `[n, 3]`, world units.
        log_scales: `[n, 3]` natural logarithms of the standard deviations.
        rotations: `[n, 4]` quaternions wxyz of any length.
        logits: `[n]` of the opacities.
        sh_dc: `[n, 1, 3]` harmonics of degree 0.
        sh_rest: `[n, k - 1, 3]` harmonics of degree 1 and up.
    """

    means: Float[Array, "n 3"]
    log_scales: Float[Array, "n 3"]
    rotations: Float[Array, "n 4"]
    logits: Float[Array, "n"]
    sh_dc: Float[Array, "n 1 3"]
    sh_rest: Float[Array, "n rest 3"]


def roomy(count: int) -> int:
    """Returns a capacity for so many Gaussians, one of few, so that splats of like size share a compiled program."""
    return max(-(-count // _SLOTS) * _SLOTS, _SLOTS)


def to_gaussians(
    parameters: Parameters,
    is_used: Bool[Array, "n"],
    degree: int | Int32[Array, ""] | None = None,
) -> Gaussians:
    """Returns all slots as Gaussians `[n]`; unused ones have opacity 0, so that nothing draws them.

    Args:
        parameters: of all slots.
        is_used: which of them count.
        degree: harmonics of a higher degree count as zero and have no gradient; all count by default.
    """
    rest = parameters.sh_rest
    if degree is not None:
        # Coefficient k (from 1) is of degree ⌊√k⌋.
        degrees = np.floor(np.sqrt(np.arange(1, rest.shape[1] + 1) + 1e-9)).astype(np.int32)
        rest = jnp.where((degrees <= degree)[None, :, None], rest, 0.0)
    return Gaussians(
        means=parameters.means,
        rotations=parameters.rotations,
        scales=jnp.exp(parameters.log_scales),
        opacities=jnp.where(is_used, jax.nn.sigmoid(parameters.logits), 0.0),
        sh=jnp.concatenate([parameters.sh_dc, rest], axis=1),
    )


def used_gaussians(parameters: Parameters, is_used: Bool[Array, "n"]) -> Gaussians:
    """Returns the used slots alone as numpy Gaussians `[m]`, as files want them."""
    every = to_gaussians(parameters, is_used)
    return Gaussians(*(np.asarray(leaf)[np.asarray(is_used)] for leaf in every))


def from_gaussians(
    gaussians: Gaussians, capacity: int, sh_degree: int, name: str = "the splat"
) -> tuple[Parameters, Bool[Array, "n"]]:
    """Returns Gaussians as parameters, in the first of `capacity` slots, and which slots are used.

    Args:
        gaussians: one set, `[m]`.
        capacity: number of slots.
        sh_degree: of the parameters; harmonics of a higher degree are dropped, missing ones are zero.
        name: of the Gaussians, for messages.

    Raises:
        UserError: if they are more than the capacity.
        DataError: if there are none, or one of their numbers is not finite.
    """
    leaves = Gaussians(*(np.asarray(leaf, np.float32) for leaf in gaussians))
    count = len(leaves.opacities)
    if count > capacity:
        raise UserError(f"{name} has {count} Gaussians, more than --capacity {capacity}: raise it")
    if not count:
        raise DataError(f"{name} has no Gaussians")
    for field, leaf in zip(leaves._fields, leaves, strict=True):
        if broken := int(leaf.size - np.isfinite(leaf).sum()):
            raise DataError(f"{name} cannot be used: {broken} values of its {field} are not finite")
    opacities = np.clip(leaves.opacities, _LEAST, _MOST)
    rest = np.zeros((count, (sh_degree + 1) ** 2 - 1, 3), np.float32)
    kept = min(rest.shape[1], leaves.sh.shape[1] - 1)
    rest[:, :kept] = leaves.sh[:, 1 : 1 + kept]
    rotations = np.tile(np.asarray([[1.0, 0.0, 0.0, 0.0]], np.float32), (capacity, 1))
    rotations[:count] = leaves.rotations  # one of length zero, in an unused slot, would have no gradient later

    def slots(values: Array | np.ndarray) -> Array:
        return jnp.asarray(np.pad(np.asarray(values), [(0, capacity - count)] + [(0, 0)] * (values.ndim - 1)))

    parameters = Parameters(
        means=slots(leaves.means),
        log_scales=slots(np.log(np.maximum(leaves.scales, _SMALLEST_SCALE))),
        rotations=jnp.asarray(rotations),
        logits=slots(np.log(opacities) - np.log1p(-opacities)),
        sh_dc=slots(leaves.sh[:, :1]),
        sh_rest=slots(rest),
    )
    return parameters, jnp.arange(capacity) < count
