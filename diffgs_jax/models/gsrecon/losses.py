"""What gsrecon is trained to do (DiffSplat, Lin et al. 2025, section 3.1): render as the given and other views are."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.geometry import Cameras, Gaussians, Similarity, Views
from diffgs_jax.models.bundles import Batch, Frozen, Metrics, Params
from diffgs_jax.models.gsrecon.config import GSReconConfig, ReconstructionLossConfig
from diffgs_jax.models.gsrecon.frame import model_cameras
from diffgs_jax.models.gsrecon.inputs import encoded_map, gaussians_of_grids, grids_of_views
from diffgs_jax.models.losses import lpips
from diffgs_jax.models.splat_grid import DEPTH_CHANNEL, PixelPlaces, unproject_pixels
from diffgs_jax.rasterizer import render_in_groups, render_surfaces

_PICTURES = 0x70696373
"""Apart from the numbers that split a key, so that other draws do not depend on it."""

_PER_VIEW = ("images", "cameras", "is_condition", "alphas", "depths", "normals")
"""The fields of `Views` that have an axis of views."""


class Appearance(NamedTuple):
    """Views as renderings and data have them in common.

    Attributes:
        image: `[b, v, h, w, 3]` in [0, 1].
        alpha: `[b, v, h, w]` coverage in [0, 1]; None where it is not known.
        coordinates: `[b, v, h, w, 3]`, x/2 + 1/2 of what is seen, on the background; None where nothing asks for them.
        normals: `[b, v, h, w, 3]`, n/2 + 1/2 likewise.
    """

    image: Float[Array, "b v h w 3"]
    alpha: Float[Array, "b v h w"] | None
    coordinates: Float[Array, "b v h w 3"] | None = None
    normals: Float[Array, "b v h w 3"] | None = None


def loss(
    config: GSReconConfig,
    params: Params,
    frozen: Frozen,
    batch: Batch,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the scalar to descend and what to log.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: holds `lpips` for the perceptual term.
        batch: its inputs are what the network reads; they and its targets supervise.
        key: draws the views that are compared, if not all of them.
        step: optimizer steps done.
    """
    return grid_loss(config, frozen, grids_of_views(config, params, batch.inputs), batch, key, step)


def grid_loss(
    config: GSReconConfig,
    frozen: Frozen,
    grids: Float[Array, "b v rows columns 12"],
    batch: Batch,
    key: PRNGKeyArray,
    step: Int32[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """Returns what `loss` would, were these the grids of a batch's inputs."""
    gaussians, similarity = gaussians_of_grids(config, grids, batch.inputs.cameras)
    views = _supervision(config.losses, batch, key)
    cameras = model_cameras(config.frame, similarity, views.cameras)
    wanted = [name for name in ("coordinates", "normals") if getattr(config.losses, name)]
    rendered = render_appearance(config, gaussians, cameras, views, surfaces=bool(wanted))
    maps = {name: encoded_map(config, name, views, cameras, similarity) for name in wanted}
    alphas = None if views.alphas is None else jnp.asarray(views.alphas)
    truth = Appearance(jnp.asarray(views.images), alphas, **maps)

    def perceptual(rendered: Array, true: Array) -> Array:
        pairs = (rendered.reshape(-1, *rendered.shape[2:]), true.reshape(-1, *true.shape[2:]))
        count = config.losses.perceptual_images
        if 0 < count < len(pairs[0]):
            chosen = jax.random.permutation(jax.random.fold_in(key, _PICTURES), len(pairs[0]))[:count]
            pairs = tuple(one[chosen] for one in pairs)
        shown = (resized(one, config.losses.perceptual_size) for one in pairs)
        # A loss can live with the accelerator's fast convolutions, and they are most of this term's time.
        return jnp.mean(lpips(frozen["lpips"], *shown, precision="default"))

    total, metrics = compare(config.losses, rendered, truth, perceptual, step)
    if config.losses.depth and batch.inputs.depths is not None:
        metrics["depth"] = depth_error(grids, batch.inputs.depths, similarity, batch.inputs.cameras)
        total += config.losses.depth * metrics["depth"]
        metrics["loss"] = total
    return total, metrics


def depth_error(
    grids: Float[Array, "b v rows columns 12"],
    depths: Float[Array | np.ndarray, "b v h w"],
    similarity: Similarity,
    cameras: Cameras,
) -> Float[Array, ""]:
    """Returns the mean distance between the depths of grids and true ones, where these are known, network's units.

    Args:
        grids: of views.
        depths: z along the views' axes, in the frame of the request; NaN where it is not known.
        similarity: from there to the network's world.
        cameras: of the views, in the frame of the request.
    """
    stride = depths.shape[-1] // grids.shape[-2]
    middle = slice(stride // 2, None, stride)
    distances = jnp.linalg.norm(jnp.asarray(cameras.camera_to_world)[..., :3, 3], axis=-1)
    scale = jnp.asarray(similarity.scale)[:, None, None, None]
    true = (jnp.asarray(depths)[..., middle, middle] - distances[..., None, None]) * scale
    is_known = ~jnp.isnan(true)
    errors = jnp.where(is_known, jnp.abs(grids[..., DEPTH_CHANNEL] - jnp.where(is_known, true, 0.0)), 0.0)
    return jnp.sum(errors) / jnp.maximum(jnp.sum(is_known), 1)


def compare(
    config: ReconstructionLossConfig,
    rendered: Appearance,
    truth: Appearance,
    perceptual: Callable[[Array, Array], Array],
    step: int | Int32[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the loss and its terms, none of them times its weight, and the PSNR of all pixels together, dB.

    Args:
        config: the weights.
        rendered: what it looks like.
        truth: what it should look like; a term whose truth is not known is left out.
        perceptual: LPIPS of images `[b, v, h, w, 3]`, their mean.
        step: optimizer steps done.
    """
    image = jnp.mean((rendered.image - truth.image) ** 2)
    metrics, total = {"image": image, "psnr": -10 * jnp.log10(jnp.maximum(image, 1e-12))}, image
    if config.alpha and truth.alpha is not None:
        assert rendered.alpha is not None
        metrics["alpha"] = jnp.mean((rendered.alpha - truth.alpha) ** 2)
        total += config.alpha * metrics["alpha"]
    if config.perceptual:
        metrics["perceptual"] = perceptual(rendered.image, truth.image)
        total += config.perceptual * perceptual_ramp(config, step) * metrics["perceptual"]
    if config.coordinates and rendered.coordinates is not None and truth.coordinates is not None:
        metrics["coordinates"] = jnp.mean((rendered.coordinates - truth.coordinates) ** 2)
        total += config.coordinates * metrics["coordinates"]
    if config.normals and rendered.normals is not None and truth.normals is not None:
        metrics["normals"] = 1 - jnp.mean(_cosines(rendered.normals, truth.normals))
        total += config.normals * metrics["normals"]
    return total, metrics | {"loss": total}


def perceptual_ramp(config: ReconstructionLossConfig, step: int | Int32[Array, ""]) -> float | Float[Array, ""]:
    """Returns the part of its weight that LPIPS has: nothing up to one step, all from another on.

    Published steps count from 1, the one after `step` steps done.
    """
    start, end = config.perceptual_warmup
    if end <= start:
        return 1.0
    return jnp.clip((jnp.asarray(step, jnp.float32) + 1 - start) / (end - start), 0.0, 1.0)


def render_appearance(
    config: GSReconConfig, gaussians: Gaussians, cameras: Cameras, views: Views, *, surfaces: bool
) -> Appearance:
    """Renders views of Gaussians in the network's world.

    Args:
        config: says how.
        gaussians: `[b, n]`.
        cameras: `[b, v]`.
        views: `[b, v]`, whose size and background the renderings take.
        surfaces: with coordinates and normals.
    """
    height, width = views.images.shape[2:4]
    background: Any = config.background
    if views.background is not None:
        background = jnp.broadcast_to(jnp.asarray(views.background)[:, None], (*views.images.shape[:2], 3))
    if not surfaces:
        rendering = render_in_groups(
            gaussians,
            cameras,
            config.losses.views_at_once,
            height=height,
            width=width,
            background=background,
            backend=config.backend,
            **config.rendering.arguments(),
        )
        return Appearance(rendering.image, rendering.alpha)
    seen = render_surfaces(
        gaussians,
        cameras,
        config.rendering,
        height=height,
        width=width,
        background=background,
        backend=config.backend,
    )
    maps = surface_colors(seen.depth, seen.normals, seen.alpha, cameras, places=config.grid.places)
    return Appearance(seen.image, seen.alpha, *maps)


def surface_colors(
    depth: Float[Array, "b v h w"],
    normals: Float[Array, "b v h w 3"],
    alpha: Float[Array, "b v h w"],
    cameras: Cameras,
    *,
    places: PixelPlaces = "corners",
    background: Float[Array | np.ndarray, "3"] | None = None,
) -> tuple[Float[Array, "b v h w 3"], Float[Array, "b v h w 3"]]:
    """Returns coordinates x/2 + 1/2 and normals n/2 + 1/2 in the cameras' world, on a background.

    Args:
        depth: z, world units.
        normals: in the cameras' axes.
        alpha: coverage.
        cameras: `[b, v]`.
        places: where in the image a pixel lies.
        background: RGB in [0, 1]; white by default.
    """
    behind = jnp.ones(3) if background is None else jnp.asarray(background)
    behind = behind.reshape(1, 1, 1, 1, 3) * (1 - alpha)[..., None]
    turn = jnp.asarray(cameras.camera_to_world)[:, :, None, None, :3, :3]
    world = jnp.stack([jnp.sum(turn[..., i, :] * normals, axis=-1) for i in range(3)], axis=-1)
    points = unproject_pixels(depth, cameras, places)
    coordinates, normals = ((values * 0.5 + 0.5) * alpha[..., None] + behind for values in (points, world))
    return coordinates, normals


def resized(images: Float[Array, "n h w 3"], size: int) -> Float[Array, "n _ _ 3"]:
    """Returns square images at another size, bilinear without antialiasing as published; 0 leaves them as they are."""
    if size in (0, images.shape[1]):
        return images
    return jax.image.resize(images, (len(images), size, size, 3), "linear", antialias=False)


def _cosines(a: Float[Array, "*batch 3"], b: Float[Array, "*batch 3"]) -> Float[Array, "*batch"]:
    lengths = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    return jnp.sum(a * b, axis=-1) / jnp.maximum(lengths, 1e-8)


def _supervision(config: ReconstructionLossConfig, batch: Batch, key: PRNGKeyArray) -> Views:
    """Returns the views that are compared: inputs, all or some drawn anew, and targets."""
    inputs, count = batch.inputs, config.supervised_inputs
    if 0 < count < inputs.images.shape[1]:
        order = jnp.argsort(jax.random.uniform(key, inputs.images.shape[:2]), axis=1)[:, :count]

        def take(leaf: Array | np.ndarray) -> Array:
            return jnp.take_along_axis(jnp.asarray(leaf), order.reshape(*order.shape, *(1,) * (leaf.ndim - 2)), axis=1)

        inputs = inputs._replace(**{name: jax.tree.map(take, getattr(inputs, name)) for name in _PER_VIEW})
    if batch.targets is None:
        return inputs

    def join(name: str) -> Any:
        ours, theirs = getattr(inputs, name), getattr(batch.targets, name)
        if ours is None or theirs is None:
            return None
        return jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a), jnp.asarray(b)], axis=1), ours, theirs)

    return inputs._replace(**{name: join(name) for name in _PER_VIEW})
