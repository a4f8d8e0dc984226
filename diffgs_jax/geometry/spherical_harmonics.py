"""Real spherical harmonics to degree 3 in the sign convention of 3DGS (Kerbl et al. 2023)."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BAND_0 = 0.5 / math.sqrt(math.pi)
_BAND_1 = math.sqrt(3 / (4 * math.pi))
_BAND_2 = [math.sqrt(15 / math.pi) / 2, math.sqrt(5 / math.pi) / 4, math.sqrt(15 / math.pi) / 4]
_BAND_3 = [
    math.sqrt(35 / (2 * math.pi)) / 4,
    math.sqrt(105 / math.pi) / 2,
    math.sqrt(21 / (2 * math.pi)) / 4,
    math.sqrt(7 / math.pi) / 4,
    math.sqrt(105 / math.pi) / 4,
]


def spherical_harmonics(directions: Float[Array, "*batch 3"], degree: int) -> Float[Array, "*batch k"]:
    """Evaluates the (degree + 1)² basis functions, with the Condon-Shortley phase as 3DGS files store them.

    Args:
        directions: unit vectors from the camera to the Gaussian.
        degree: 0 to 3.

    Raises:
        ValueError: for another degree.
    """
    if not 0 <= degree <= 3:
        raise ValueError(f"spherical harmonics are implemented for degrees 0 to 3, not {degree}")
    return jnp.stack(_basis(*(directions[..., i] for i in range(3)), degree), axis=-1)


def _basis(x: Array, y: Array, z: Array, degree: int) -> list[Array]:
    basis = [jnp.full_like(x, BAND_0)]
    if degree >= 1:
        basis += [-_BAND_1 * y, _BAND_1 * z, -_BAND_1 * x]
    if degree >= 2:
        basis += [
            _BAND_2[0] * x * y,
            -_BAND_2[0] * y * z,
            _BAND_2[1] * (2 * z * z - x * x - y * y),
            -_BAND_2[0] * x * z,
            _BAND_2[2] * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            -_BAND_3[0] * y * (3 * x * x - y * y),
            _BAND_3[1] * x * y * z,
            -_BAND_3[2] * y * (4 * z * z - x * x - y * y),
            _BAND_3[3] * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -_BAND_3[2] * x * (4 * z * z - x * x - y * y),
            _BAND_3[4] * z * (x * x - y * y),
            -_BAND_3[0] * x * (x * x - 3 * y * y),
        ]
    return basis


def sh_to_color(
    sh: Float[Array, "*batch n k 3"], means: Float[Array, "*batch n 3"], camera_center: Float[Array, "*batch 3"]
) -> Float[Array, "*batch n 3"]:
    """Returns view-dependent colours max(0, 0.5 + Σ sh·Y), unbounded above.

    Args:
        sh: coefficients, k = (degree + 1)².
        means: Gaussian centres, world units.
        camera_center: camera positions, world units.
    """
    entries = [[sh[..., k, channel] for channel in range(3)] for k in range(sh.shape[-2])]
    return jnp.stack(color_columns(entries, [means[..., i] for i in range(3)], camera_center), axis=-1)


def color_columns(
    sh: Sequence[Sequence[Float[Array, "*batch n"]]],
    places: Sequence[Float[Array, "*batch n"]],
    camera_center: Float[Array, "*batch 3"],
) -> list[Float[Array, "*batch n"]]:
    """Returns red, green and blue of `sh_to_color`.

    Args:
        sh: coefficients, [k][channel].
        places: x, y, z of the Gaussians' centres, world units.
        camera_center: camera positions, world units.
    """
    degree = math.isqrt(len(sh)) - 1
    if degree == 0:  # no direction: also no gradient into the means or the pose
        return [jnp.maximum(0.0, 0.5 + BAND_0 * value) for value in sh[0]]
    offset = [place - camera_center[..., None, i] for i, place in enumerate(places)]
    # Divided by the largest component first, so that no square overflows or vanishes. What is divided by has no
    # gradient, because the length of the quotient is divided out again.
    largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, map(jnp.abs, offset)))
    is_nowhere = largest < 1e-18
    largest = jnp.where(is_nowhere, 1.0, largest)
    x, y, z = (value / largest for value in offset)
    inverse = 1.0 / jnp.sqrt(jnp.where(is_nowhere, 1.0, x * x + y * y + z * z))
    basis = _basis(x * inverse, y * inverse, z * inverse, degree)
    # Written out: a dot product of default precision may be taken in TF32 on a GPU.
    totals = (functools.reduce(jnp.add, (value * sh[k][i] for k, value in enumerate(basis))) for i in range(3))
    return [jnp.maximum(0.0, 0.5 + total) for total in totals]


def sh_from_color(color: Float[Array, "*batch 3"]) -> Float[Array, "*batch 1 3"]:
    """Returns the degree-0 coefficients of a colour in [0, 1]."""
    return ((color - 0.5) / BAND_0)[..., None, :]
