"""Renderings of Gaussians compared with the views they should be."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from diffgs_jax.geometry import Gaussians, Views
from diffgs_jax.models.bundles import (
    Frozen,
    Metrics,
)
from diffgs_jax.models.losses.lpips import LPIPSWeights, lpips
from diffgs_jax.models.losses.ssim import ssim
from diffgs_jax.models.losses.weighting import TermWeights
from diffgs_jax.rasterizer import Backend, Rendering, expected_depth, render_in_groups


def rendering_losses(
    gaussians: Gaussians,
    targets: Views,
    weights: Float[Array, "2 b v"],
    terms: TermWeights,
    names: Sequence[str],
    *,
    background: float = 1.0,
    views_at_once: int = 0,
    backend: Backend = "auto",
    frozen: Frozen | None = None,
    perceptual_images: int = 0,
    perceptual_shares: Float[Array, "b"] | None = None,
    key: PRNGKeyArray | None = None,
) -> Metrics:
    """Renders Gaussians at the views they are compared with, and returns the terms of `comparison_losses`.

    Args:
        gaussians: `[b, n]`.
        targets: as there.
        weights: as there.
        terms: as there.
        names: as there.
        background: grey level in [0, 1] of targets that carry none.
        views_at_once: views of a sample that are rendered together; 0 renders all at once.
        backend: who renders.
        frozen: as there.
        perceptual_images: as there.
        perceptual_shares: as there.
        key: as there.
    """
    rendering = render_targets(gaussians, targets, background=background, views_at_once=views_at_once, backend=backend)
    return comparison_losses(
        rendering,
        targets,
        weights,
        terms,
        names,
        frozen=frozen,
        perceptual_images=perceptual_images,
        perceptual_shares=perceptual_shares,
        key=key,
    )


def render_targets(
    gaussians: Gaussians,
    targets: Views,
    *,
    background: float = 1.0,
    views_at_once: int = 0,
    backend: Backend = "auto",
    features: Float[Array, "b n c"] | None = None,
    shown: Bool[Array, "b v n"] | None = None,
) -> Rendering:
    """Renders Gaussians at views they are to be compared with, on those views' background.

    Args:
        gaussians: `[b, n]`.
        targets: the views.
        background: grey level in [0, 1] of targets that carry none.
        views_at_once: views of a sample that are rendered together; 0 renders all at once.
        backend: who renders.
        features: as in `render`.
        shown: which Gaussians each view is rendered of; all by default.
    """
    height, width = targets.images.shape[2:4]
    grey: Any = background
    if targets.background is not None:
        grey = jnp.broadcast_to(jnp.asarray(targets.background)[:, None], (*targets.images.shape[:2], 3))
    return render_in_groups(
        gaussians,
        targets.cameras,
        views_at_once,
        height=height,
        width=width,
        background=grey,
        backend=backend,
        features=features,
        shown=shown,
    )


def comparison_losses(
    rendering: Rendering,
    targets: Views,
    weights: Float[Array, "2 b v"],
    terms: TermWeights,
    names: Sequence[str],
    *,
    frozen: Frozen | None = None,
    perceptual_images: int = 0,
    perceptual_shares: Float[Array, "b"] | None = None,
    key: PRNGKeyArray | None = None,
) -> Metrics:
    """Returns the terms that compare renderings with the views they should be, none of them times its own weight.

    `denoise` (L_de) and `novel` (L_nv) are mean squared errors of colour; `alpha`, of coverage; `perceptual` is LPIPS,
    `ssim` is 1 − SSIM and `depth` the relative error of the depth. All but the first two are sums over both kinds of
    views, of which `terms.denoise` and `terms.novel` say what they count.

    Args:
        rendering: `[b, v]`.
        targets: the views to compare with.
        weights: of each view in L_de (row 0) and L_nv (row 1); a row sums to 1, or to 0 if it covers no view, unless
            samples have weights of their own.
        terms: weights of the terms at this step.
        names: of the terms beside the first two; one that the targets know nothing of is 0.
        frozen: holds `lpips` for the perceptual term.
        perceptual_images: how many renderings LPIPS looks at; 0 for all.
        perceptual_shares: what LPIPS of each sample counts; 1 by default.
        key: draws the images that LPIPS looks at, if not all of them.
    """
    squared = jnp.mean((rendering.image - targets.images) ** 2, axis=(2, 3, 4))
    metrics = {"denoise": jnp.sum(weights[0] * squared), "novel": jnp.sum(weights[1] * squared)}
    both = terms.denoise * weights[0] + terms.novel * weights[1]
    metrics |= {name: jnp.zeros((), squared.dtype) for name in names}
    if "alpha" in names and targets.alphas is not None:
        metrics["alpha"] = jnp.sum(both * jnp.mean((rendering.alpha - targets.alphas) ** 2, axis=(2, 3)))
    if "perceptual" in names:
        shares = both if perceptual_shares is None else both * perceptual_shares[:, None]
        metrics["perceptual"] = perceptual_distance(
            (frozen or {})["lpips"], rendering.image, targets.images, shares, perceptual_images, key
        )
    if "ssim" in names:
        metrics["ssim"] = jnp.sum(both * (1.0 - ssim(rendering.image, targets.images)))
    if "depth" in names and targets.depths is not None:
        metrics["depth"] = jnp.sum(both * depth_errors(rendering, targets.depths))
    return metrics


def perceptual_distance(
    weights: LPIPSWeights,
    rendered: Float[Array, "b v h w 3"],
    targets: Float[Array | np.ndarray, "b v h w 3"],
    shares: Float[Array, "b v"],
    images: int = 0,
    key: PRNGKeyArray | None = None,
) -> Float[Array, ""]:
    """Returns the sum of LPIPS (VGG16) over views, each times its share, or an unbiased estimate of it.

    Args:
        weights: of `load_lpips`.
        rendered: the views as they are.
        targets: as they should be.
        shares: what each counts.
        images: how many to look at, drawn with equal chances and without replacement; 0 for all.
        key: draws them.
    """
    total, size = shares.size, rendered.shape[2:]
    pairs, of_pairs = (rendered.reshape(-1, *size), jnp.asarray(targets).reshape(-1, *size)), shares.reshape(-1)
    if images and images < total and key is not None:
        chosen = jax.random.permutation(key, total)[:images]
        pairs, of_pairs = jax.tree.map(lambda leaf: leaf[chosen], pairs), of_pairs[chosen] * (total / images)
    # A loss can live with the accelerator's fast convolutions, and they are most of this term's time.
    return jnp.sum(of_pairs * lpips(weights, *pairs, precision="default"))


def depth_errors(rendering: Rendering, depths: Float[Array | np.ndarray, "b v h w"]) -> Float[Array, "b v"]:
    """Returns the mean of |D̂ − D| / D over the pixels of each view where D is known; 0 if there are none.

    D̂ is the mean z of what is rendered. A pixel counts as far as it is covered, and its coverage is held fixed: what is
    in the wrong place should move, not fade. Relative, because scenes are as deep as the world and objects are not.

    Args:
        rendering: `[b, v]`.
        depths: z, world units, NaN where it is not known.
    """
    depths = jnp.asarray(depths)
    is_known = depths > 0
    true = jnp.where(is_known, depths, 1.0)
    relative = jnp.abs(expected_depth(rendering) - true) / true * jax.lax.stop_gradient(rendering.alpha)
    known = jnp.sum(is_known, axis=(2, 3))
    return jnp.sum(jnp.where(is_known, relative, 0.0), axis=(2, 3)) / jnp.maximum(known, 1)
