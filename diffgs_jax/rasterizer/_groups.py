"""Rendering many views of a sample in the memory of a few."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.rasterizer._sharded import render_sharded
from diffgs_jax.rasterizer.rendering import Rendering


def render_in_groups(
    gaussians: Gaussians,
    cameras: Cameras,
    views_at_once: int,
    *,
    background: float | Array,
    shown: Bool[Array, "b v n"] | None = None,
    **settings: Any,
) -> Rendering:
    """Renders the views of samples some at a time, each group once more in the backward pass instead of being kept.

    If groups do not divide the views, the last view is rendered again to fill the last group.

    Args:
        gaussians: `[b, n]`.
        cameras: `[b, v]`.
        views_at_once: views in a group; 0 for all in one, kept for the backward pass.
        background: a grey level, or colours `[b, v, 3]`.
        shown: which Gaussians each view is rendered of; all by default.
        settings: the others of `render_sharded`.
    """
    count = cameras.intrinsics.shape[1]
    behind = background if isinstance(background, jax.Array) and background.ndim else None
    if not 0 < views_at_once < count:
        return render_sharded(gaussians, cameras, background=background, shown=shown, **settings)
    groups = -(-count // views_at_once)
    order = jnp.minimum(jnp.arange(groups * views_at_once), count - 1).reshape(groups, views_at_once)

    @jax.checkpoint
    def render_group(some: tuple[Cameras, Array | None, Array | None]) -> Rendering:
        cameras, colours, shown = some
        colours = background if colours is None else colours
        return render_sharded(gaussians, cameras, background=colours, shown=shown, **settings)

    views = jax.tree.map(lambda leaf: jnp.moveaxis(jnp.asarray(leaf)[:, order], 1, 0), (cameras, behind, shown))
    rendering = jax.lax.map(render_group, views)

    def join(leaf: Array) -> Array:
        joined = jnp.moveaxis(leaf, 0, 1)
        return joined.reshape(joined.shape[0], -1, *joined.shape[3:])[:, :count]

    return jax.tree.map(join, rendering)
