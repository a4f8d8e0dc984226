"""Gaussians turned about the origin."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffgs_jax.geometry.gaussians import Gaussians
from diffgs_jax.geometry.spherical_harmonics import spherical_harmonics

_harmonics = jax.jit(spherical_harmonics, static_argnums=1)


def turn_gaussians(gaussians: Gaussians, rotation: Float[np.ndarray, "3 3"]) -> Gaussians:
    """Returns Gaussians whose every point x, and every direction they shine in, has become `rotation` · x.

    Args:
        gaussians: numpy, `[n, …]`, SH degree 0 to 3.
        rotation: orthogonal, determinant 1.

    Returns:
        Float64 numpy Gaussians.
    """
    means, rotations, scales, opacities, sh = (np.asarray(leaf, np.float64) for leaf in gaussians)
    if np.allclose(rotation, np.eye(3), atol=1e-12):
        return Gaussians(means, rotations, scales, opacities, sh)
    from scipy.spatial.transform import Rotation  # half a second of processor time, which settings need not spend

    *xyz, w = Rotation.from_matrix(rotation).as_quat()
    own_w, own_xyz = rotations[:, :1], rotations[:, 1:]
    vector = np.asarray(xyz)[None]
    product = [own_w * w - own_xyz @ vector.T, own_w * vector + w * own_xyz + np.cross(vector, own_xyz)]
    return Gaussians(
        means @ rotation.T, np.concatenate(product, axis=1), scales, opacities, _turned_harmonics(sh, rotation)
    )


def _turned_harmonics(sh: Float[np.ndarray, "n k 3"], rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n k 3"]:
    """Returns the coefficients of the function of direction d ↦ f(rotationᵀ · d).

    Each band turns within itself: the matrix is found by evaluating it in more directions than it has functions.
    """
    degree = int(np.sqrt(sh.shape[1])) - 1
    if not degree:
        return sh
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    here, there = (
        np.asarray(_harmonics(jnp.asarray(seen, jnp.float32), degree), np.float64)
        for seen in (directions, directions @ rotation)
    )
    turned = sh.copy()
    for band in range(1, degree + 1):
        part = slice(band**2, (band + 1) ** 2)
        matrix = np.linalg.lstsq(here[:, part], there[:, part], rcond=None)[0]
        turned[:, part] = np.einsum("ij,njc->nic", matrix, sh[:, part])
    return turned
