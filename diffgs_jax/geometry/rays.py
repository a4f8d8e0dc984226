"""Pixel rays and the two ways they enter the network (DiffusionGS, Cai et al. 2025, section 3.3)."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffgs_jax.geometry.cameras import Cameras

RayEmbedding = Literal["rppc", "plucker"]
"""`rppc`: reference-point Plücker coordinates (d, o − (o·d)d); `plucker`: (o×d, d)."""


class Rays(NamedTuple):
    """One ray for each pixel: `origins` and unit `directions`, `[*batch, height, width, 3]`, world units."""

    origins: Float[Array, "*batch h w 3"]
    directions: Float[Array, "*batch h w 3"]


def pixel_rays(cameras: Cameras, height: int, width: int) -> Rays:
    """Returns world-space rays through the pixel centres of a `height` × `width` image.

    Rays of a coarser grid (stride s) are those of the image at height/s × width/s: intrinsics are fractions.
    """
    pose, intrinsics = jnp.asarray(cameras.camera_to_world), jnp.asarray(cameras.intrinsics)
    fx, fy, cx, cy = (intrinsics[..., i, None, None] for i in range(4))
    column = ((jnp.arange(width) + 0.5) / width).reshape((1,) * (pose.ndim - 2) + (1, width))
    row = ((jnp.arange(height) + 0.5) / height).reshape((1,) * (pose.ndim - 2) + (height, 1))
    x, y = (column - cx) / fx, (row - cy) / fy
    turn = pose[..., None, None, :3, :3]
    # Written out by component: a dot product of default precision may be taken in TF32 on a GPU.
    axes = [turn[..., i, 0] * x + turn[..., i, 1] * y + turn[..., i, 2] for i in range(3)]
    directions = jnp.stack(axes, axis=-1)
    directions = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
    origins = jnp.broadcast_to(pose[..., None, None, :3, 3], directions.shape)
    return Rays(origins, directions)


def closest_point_to_origin(rays: Rays) -> Float[Array, "*batch h w 3"]:
    """Returns o − (o·d)d, the reference point of RPPC (DiffusionGS eq. 12): the point nearest the world origin."""
    along = jnp.sum(rays.origins * rays.directions, axis=-1, keepdims=True)
    return rays.origins - along * rays.directions


def embed_rays(rays: Rays, kind: RayEmbedding) -> Float[Array, "*batch h w 6"]:
    """Returns the six channels a ray adds to its pixel.

    The order of RPPC, (d, reference point), is the published weights'; the paper's text has it the other way round.
    """
    match kind:
        case "rppc":
            return jnp.concatenate([rays.directions, closest_point_to_origin(rays)], axis=-1)
        case "plucker":
            return jnp.concatenate([jnp.cross(rays.origins, rays.directions), rays.directions], axis=-1)
