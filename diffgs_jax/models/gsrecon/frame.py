"""From the frame of a request to the world that the network knows, and back: one similarity for each sample."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry import Cameras, Similarity, look_at, moved_cameras
from diffgs_jax.models.gsrecon.config import FrameConfig

# Ours to the published axes: x there is our y, y our z, z our x.
_Y_UP = np.asarray([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], np.float32)
_LEAST = 1e-6


def to_model_frame(config: FrameConfig, cameras: Cameras) -> Similarity:
    """Returns the similarity `[b]` from the frame of cameras to the network's world.

    It turns about the vertical, so that the first camera has azimuth 0, and scales; elevations and the origin stay.

    Args:
        config: says which axis points up, and how far away the first camera is.
        cameras: `[b, v]`, z up, the object about the origin.
    """
    center = jnp.asarray(cameras.camera_to_world)[:, 0, :3, 3]
    flat = jnp.sqrt(center[:, 0] ** 2 + center[:, 1] ** 2)
    is_above = flat < _LEAST
    cosine, sine = (
        jnp.where(is_above, o, center[:, i] / jnp.where(is_above, 1.0, flat)) for i, o in ((0, 1.0), (1, 0.0))
    )
    zero, one = jnp.zeros_like(cosine), jnp.ones_like(cosine)
    rows = [[cosine, sine, zero], [-sine, cosine, zero], [zero, zero, one]]
    if config.up == "y":
        rows = [rows[1], rows[2], rows[0]]
    turn = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    scale = one if config.distance is None else config.distance / jnp.linalg.norm(center, axis=-1)
    return Similarity(turn, scale, jnp.zeros_like(center))


def model_cameras(config: FrameConfig, similarity: Similarity, cameras: Cameras) -> Cameras:
    """Returns cameras as the network knows them.

    Args:
        config: says whether they are rebuilt.
        similarity: of `to_model_frame`, `[b]`.
        cameras: `[b, v]`, in the frame of the request.
    """
    moved = moved_cameras(similarity, cameras)
    return moved._replace(camera_to_world=rebuilt(moved.camera_to_world, config)) if config.rebuilt else moved


def rebuilt(poses: Float[Array | np.ndarray, "*batch 4 4"], config: FrameConfig) -> Float[Array, "*batch 4 4"]:
    """Returns poses at the same places that look at the origin, upright: what roll and aim they had is lost.

    Args:
        poses: OpenCV axes.
        config: says which way is up.
    """
    center = jnp.asarray(poses)[..., :3, 3]
    up = jnp.asarray([0.0, 1.0, 0.0] if config.up == "y" else [0.0, 0.0, 1.0])
    forward = -center / jnp.linalg.norm(center, axis=-1, keepdims=True)
    right = jnp.cross(forward, jnp.broadcast_to(up, forward.shape))
    right = right / jnp.maximum(jnp.linalg.norm(right, axis=-1, keepdims=True), _LEAST)
    axes = jnp.stack([right, jnp.cross(forward, right), forward, center], axis=-1)
    return jnp.concatenate([axes, jnp.asarray(poses)[..., 3:, :]], axis=-2)


def turned_by_rebuilding(cameras: Cameras) -> Float[np.ndarray, "*batch"]:
    """Returns by how many degrees each camera is turned when it is rebuilt.

    Args:
        cameras: `[*batch]`, z up, the object about the origin.
    """
    poses = np.asarray(cameras.camera_to_world, np.float64)
    upright = look_at(poses[..., :3, 3])[..., :3, :3].astype(np.float64)
    cosine = (np.einsum("...ij,...ij->...", poses[..., :3, :3], upright) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
