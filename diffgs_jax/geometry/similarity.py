"""Similarities of space: a turn, a scale and a shift. Where cameras and Gaussians both make it, no picture changes."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry.cameras import Cameras
from diffgs_jax.geometry.gaussians import Gaussians


class Similarity(NamedTuple):
    """Any number of similarities x ↦ scale · turn · x + shift.

    Attributes:
        turn: `[*batch, 3, 3]`, rotations.
        scale: `[*batch]`, above 0.
        shift: `[*batch, 3]`.
    """

    turn: Float[Array | np.ndarray, "*batch 3 3"]
    scale: Float[Array | np.ndarray, "*batch"]
    shift: Float[Array | np.ndarray, "*batch 3"]


def inverse_similarity(similarity: Similarity) -> Similarity:
    """Returns the similarity that undoes another."""
    turn, scale, shift = map(jnp.asarray, similarity)
    back = jnp.swapaxes(turn, -1, -2)
    return Similarity(back, 1 / scale, -_turned(back, shift) / scale[..., None])


def moved_cameras(similarity: Similarity, cameras: Cameras) -> Cameras:
    """Returns cameras that see of a moved world what they saw before.

    Args:
        similarity: `[*batch]`.
        cameras: `[*batch, v]`.
    """
    turn, scale, shift = (
        jnp.expand_dims(jnp.asarray(leaf), -axes) for leaf, axes in zip(similarity, (3, 1, 2), strict=True)
    )
    pose = jnp.asarray(cameras.camera_to_world)
    axes = _product(turn, pose[..., :3, :3])
    centers = scale[..., None] * _turned(turn, pose[..., :3, 3]) + shift
    top = jnp.concatenate([axes, centers[..., None]], axis=-1)
    return cameras._replace(camera_to_world=jnp.concatenate([top, pose[..., 3:, :]], axis=-2))


def moved_gaussians(similarity: Similarity, gaussians: Gaussians) -> Gaussians:
    """Returns the Gaussians of a moved world.

    Args:
        similarity: `[*batch]`.
        gaussians: `[*batch, n]`, with quaternions that are normalised wherever they are used.

    Raises:
        ValueError: if their colours depend on the direction: those would have to be turned as well.
    """
    if gaussians.sh.shape[-2] != 1:
        raise ValueError("only Gaussians whose colours do not depend on the direction can be turned")
    turn, scale, shift = (
        jnp.expand_dims(jnp.asarray(leaf), -axes) for leaf, axes in zip(similarity, (3, 1, 2), strict=True)
    )
    return gaussians._replace(
        means=scale[..., None] * _turned(turn, jnp.asarray(gaussians.means)) + shift,
        rotations=_quaternion_product(_quaternions_of(turn), jnp.asarray(gaussians.rotations)),
        scales=scale[..., None] * jnp.asarray(gaussians.scales),
    )


def similarity_between(before: Cameras, after: Cameras) -> Similarity:
    """Returns the one similarity, float64, that moved cameras as nearly as one can.

    Args:
        before: `[v]`, not all in one place.
        after: `[v]`, the same cameras in the moved world.
    """
    old, new = (np.asarray(one.camera_to_world, np.float64)[:, :3] for one in (before, after))
    # The rotation nearest to what the axes of all cameras say (Procrustes).
    left, _, right = np.linalg.svd(np.einsum("vij,vkj->ik", new[..., :3], old[..., :3]))
    turn = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    middles = [poses[..., 3].mean(axis=0) for poses in (old, new)]
    spreads = [np.linalg.norm(poses[..., 3] - middle) for poses, middle in zip((old, new), middles, strict=True)]
    scale = spreads[1] / spreads[0]
    return Similarity(turn, np.asarray(scale), middles[1] - scale * turn @ middles[0])


def _quaternion_product(a: Array, b: Array) -> Array:
    """Returns the quaternions wxyz of the rotations a after b."""
    a0, a1, a2, a3 = (a[..., i] for i in range(4))
    b0, b1, b2, b3 = (b[..., i] for i in range(4))
    return jnp.stack(
        [
            a0 * b0 - a1 * b1 - a2 * b2 - a3 * b3,
            a0 * b1 + a1 * b0 + a2 * b3 - a3 * b2,
            a0 * b2 - a1 * b3 + a2 * b0 + a3 * b1,
            a0 * b3 + a1 * b2 - a2 * b1 + a3 * b0,
        ],
        axis=-1,
    )


def _quaternions_of(turns: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 4"]:
    """Returns unit quaternions wxyz of rotation matrices (Shepperd 1978): the largest component decides the formula."""
    m = [[turns[..., i, j] for j in range(3)] for i in range(3)]
    trace = m[0][0] + m[1][1] + m[2][2]
    # Row i is the quaternion times four times its component i.
    rows = [
        [1 + trace, m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]],
        [m[2][1] - m[1][2], 1 + 2 * m[0][0] - trace, m[0][1] + m[1][0], m[0][2] + m[2][0]],
        [m[0][2] - m[2][0], m[0][1] + m[1][0], 1 + 2 * m[1][1] - trace, m[1][2] + m[2][1]],
        [m[1][0] - m[0][1], m[0][2] + m[2][0], m[1][2] + m[2][1], 1 + 2 * m[2][2] - trace],
    ]
    table = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    largest = jnp.argmax(jnp.stack([rows[i][i] for i in range(4)], axis=-1), axis=-1)
    chosen = jnp.take_along_axis(table, largest[..., None, None], axis=-2)[..., 0, :]
    return chosen / jnp.linalg.norm(chosen, axis=-1, keepdims=True)


def _turned(turn: Array, points: Array) -> Array:
    # Written out by component: a dot product of default precision may be taken in TF32 on a GPU.
    return jnp.stack([sum(turn[..., i, j] * points[..., j] for j in range(3)) for i in range(3)], axis=-1)


def _product(a: Array, b: Array) -> Array:
    return jnp.stack([_turned(a, b[..., j]) for j in range(3)], axis=-1)
