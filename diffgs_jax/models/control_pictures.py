"""What ControlNets are shown: depth, normals or edges of one view as a picture (Lin et al. 2025, section 4.3 and code).

Not what a depth estimator or another ControlNet would draw: the nearest is bright and the farthest black, though what
is behind the object is white.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.models.edges import edge_picture
from diffgs_jax.rasterizer import Backend, RenderSettings, render_surfaces

ControlMap = Literal["depth", "normal", "canny"]
"""What a picture shows."""

_LEAST = 1e-6


def depth_picture(
    depth: Float[Array | np.ndarray, "*batch h w"], alpha: Float[Array | np.ndarray, "*batch h w"]
) -> Float[Array, "*batch h w 3"]:
    """Returns 1 − z / (the largest z), white where nothing is.

    Args:
        depth: z along the camera's axis, any unit; what it is where nothing is, does not matter.
        alpha: coverage.
    """
    alpha = jnp.asarray(alpha)
    depth = jnp.where(alpha > 0, jnp.nan_to_num(jnp.asarray(depth)), 0.0)
    farthest = jnp.max(depth, axis=(-2, -1), keepdims=True)
    near = 1 - depth / jnp.maximum(farthest, _LEAST)
    return jnp.repeat((near * alpha + (1 - alpha))[..., None], 3, axis=-1)


def normal_picture(
    normals: Float[Array | np.ndarray, "*batch h w 3"],
    turn: Float[Array | np.ndarray, "*batch 3 3"],
    alpha: Float[Array | np.ndarray, "*batch h w"],
) -> Float[Array, "*batch h w 3"]:
    """Returns n/2 + 1/2, white where nothing is.

    Args:
        normals: unit vectors; what they are where nothing is, does not matter.
        turn: from their axes to those of the world in which the first view has azimuth 0.
        alpha: coverage.
    """
    alpha = jnp.asarray(alpha)[..., None]
    normals = jnp.where(alpha > 0, jnp.nan_to_num(jnp.asarray(normals)), 0.0)
    turned = jnp.sum(jnp.asarray(turn)[..., None, None, :, :] * normals[..., None, :], axis=-1)
    return (turned * 0.5 + 0.5) * alpha + (1 - alpha)


def edges_of(images: Float[Array | np.ndarray, "*batch h w 3"], size: int) -> Float[Array, "*batch {size} {size} 3"]:
    """Returns the edges of images as a picture of another size.

    Args:
        images: in [0, 1], on white. Edges are found in them as they are: published, at twice the size.
        size: height and width of the picture, pixels.
    """
    edges = edge_picture(images)
    return jax.image.resize(edges, (*edges.shape[:-3], size, size, 3), "linear", antialias=True)


def splat_picture(
    kind: ControlMap,
    gaussians: Gaussians,
    camera: Cameras,
    turn: Float[Array | np.ndarray, "b 3 3"],
    settings: RenderSettings,
    *,
    size: int,
    backend: Backend = "auto",
) -> Float[Array, "b {size} {size} 3"]:
    """Returns what a camera sees of splats as a picture.

    Args:
        kind: of the picture.
        gaussians: `[b, n]`.
        camera: `[b]`.
        turn: from the camera's axes to those of the world in which it has azimuth 0.
        settings: how splats are rendered.
        size: height and width, pixels.
        backend: who renders.
    """
    scale = 2 if kind == "canny" else 1
    cameras = Cameras(*(jnp.asarray(leaf)[:, None] for leaf in camera))
    seen = render_surfaces(
        gaussians, cameras, settings, height=scale * size, width=scale * size, background=1.0, backend=backend
    )
    if kind == "canny":
        return edges_of(seen.image[:, 0], size)
    alpha = seen.alpha[:, 0]
    return (
        depth_picture(seen.depth[:, 0], alpha) if kind == "depth" else normal_picture(seen.normals[:, 0], turn, alpha)
    )
