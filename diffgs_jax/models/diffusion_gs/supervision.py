"""What is rendered for the loss, of which Gaussians, and what it is compared with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray

from diffgs_jax.geometry import Cameras, Gaussians, Views
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig, LossConfig
from diffgs_jax.models.diffusion_gs.decoding import split_views
from diffgs_jax.rasterizer import render_sharded


class Supervised(NamedTuple):
    """The views that are rendered: noisy ones, then novel ones.

    Attributes:
        targets: `[b, s]`, what the renderings should be.
        weights: of each in L_de (row 0) and L_nv (row 1).
        order: `[b, k]`, which of the inputs the first k are.
    """

    targets: Views
    weights: Float[Array, "2 b s"]
    order: Int32[Array, "b k"]


def choose_supervised(config: LossConfig, inputs: Views, novel: Views, key: PRNGKeyArray) -> Supervised:
    """Chooses the noisy views that are rendered and joins them with the novel ones."""
    is_condition = jnp.asarray(inputs.is_condition)
    count = config.supervised_noisy_views or is_condition.shape[1]
    # A random order in which condition views come last: rendering fewer views is the cheapest way to a faster step.
    order = jnp.argsort(jax.random.uniform(key, is_condition.shape) + 2.0 * is_condition, axis=1)[:, :count]
    chosen = jax.tree.map(lambda leaf: take_views(jnp.asarray(leaf), order), _per_view(inputs))
    noisy = ~jnp.take_along_axis(is_condition, order, axis=1)
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, jnp.asarray(b)], axis=1), chosen, _per_view(novel))
    images, cameras, alphas, depths = joined
    not_noisy, not_novel = jnp.zeros_like(noisy), jnp.zeros(novel.images.shape[:2], bool)
    weights = jnp.stack(
        [jnp.concatenate([noisy, not_novel], axis=1), jnp.concatenate([not_noisy, ~not_novel], axis=1)]
    ).astype(jnp.float32)
    weights = weights / jnp.maximum(jnp.sum(weights, axis=(1, 2), keepdims=True), 1.0)
    flags = jnp.zeros(images.shape[:2], bool)
    targets = Views(images, cameras, flags, jnp.asarray(inputs.domain), alphas, inputs.background, depths)
    return Supervised(targets, weights, order)


def shown_gaussians(
    config: LossConfig, inputs: Views, supervised: Supervised, owners: Int32[np.ndarray, "n"], key: PRNGKeyArray
) -> Bool[Array, "b s n"] | None:
    """Draws which Gaussians each supervised view is rendered of, by the rules of the settings; None for all of them.

    A mask of the Gaussians of each rendering, so that they are projected once and nothing is rendered twice.

    Args:
        config: the rules.
        inputs: `[b, v]`, what the network read.
        supervised: what is rendered.
        owners: number of the input view of each Gaussian, −1 for free ones, which are always shown.
        key: draws.
    """
    if not (config.leave_out_conditions or config.leave_out_own):
        return None
    key_conditions, key_own = jax.random.split(key)
    is_condition = jnp.asarray(inputs.is_condition)
    batch, views = is_condition.shape
    rendered = supervised.targets.images.shape[1]
    without = jax.random.bernoulli(key_conditions, config.leave_out_conditions, (batch, 1, 1))
    left_out = jnp.broadcast_to(without & is_condition[:, None], (batch, rendered, views))
    if config.leave_out_own:
        order = jnp.pad(supervised.order, ((0, 0), (0, rendered - supervised.order.shape[1])), constant_values=-1)
        is_own = order[..., None] == jnp.arange(views)[None, None]
        is_noisy = jnp.any(is_own & ~is_condition[:, None], axis=-1, keepdims=True)
        is_drawn = is_noisy & jax.random.bernoulli(key_own, config.leave_out_own, (batch, rendered, 1))
        with_it = is_own | is_condition[:, None] if config.leave_out_own_and_conditions else is_own
        left_out |= is_drawn & with_it
    left_out &= ~jnp.all(left_out, axis=-1, keepdims=True)
    return ~left_out[..., np.maximum(owners, 0)] | (owners < 0)[None, None]


def own_loss(config: DiffusionGSConfig, gaussians: Gaussians, supervised: Supervised) -> Float[Array, ""]:
    """Returns the squared error of the supervised noisy views, each rendered from its own Gaussians alone.

    Each view projects its own Gaussians only, a part of what L_de projects.

    Args:
        config: of the model.
        gaussians: `[b, n]`.
        supervised: the views, noisy ones first.
    """
    count, targets = supervised.order.shape[1], supervised.targets
    height, width = targets.images.shape[2:4]

    def own(leaf: Array | np.ndarray) -> Array:
        flat = jnp.asarray(leaf).reshape(*leaf.shape[:2], -1)
        grids = split_views(config.network, flat, height, width)
        grids = grids.reshape(*grids.shape[:2], -1, *leaf.shape[2:])
        return take_views(jnp.asarray(grids), supervised.order)

    background: Any = config.background
    if targets.background is not None:
        background = jnp.broadcast_to(jnp.asarray(targets.background)[:, None], (*supervised.order.shape, 3))
    rendering = render_sharded(
        Gaussians(*map(own, gaussians)),
        Cameras(*(jnp.asarray(leaf)[:, :count] for leaf in targets.cameras)),
        height=height,
        width=width,
        background=background,
        backend=config.backend,
    )
    squared = jnp.mean((rendering.image - targets.images[:, :count]) ** 2, axis=(2, 3, 4))
    return jnp.sum(supervised.weights[0, :, :count] * squared)


def no_views(like: Views) -> Views:
    """Returns views of the same samples, none of each."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, :0] if leaf.ndim > 1 else leaf, like)


def take_views(leaf: Array, order: Int32[Array, "b k"]) -> Array:
    """Returns of each sample the views of those numbers."""
    return jnp.take_along_axis(leaf, order.reshape(*order.shape, *(1,) * (leaf.ndim - 2)), axis=1)


def _per_view(views: Views) -> tuple[Any, Cameras, Any, Any]:
    return views.images, views.cameras, views.alphas, views.depths
