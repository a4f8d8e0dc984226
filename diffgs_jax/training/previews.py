"""Previews: what the model makes of held-out samples, beside what they are."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from diffgs_jax.config import RunConfig
from diffgs_jax.data import CameraAugmentation, DataConfig, Split, has_records, training_batches, with_fixed_conditions
from diffgs_jax.diffusion import add_noise, make_sampler
from diffgs_jax.interop import labelled_columns
from diffgs_jax.models import (
    AlignsToViews,
    Batch,
    Diffuses,
    Frozen,
    Generated,
    ModelConfig,
    Params,
    Request,
    Sampling,
    family,
)
from diffgs_jax.models.bundles import request_of
from diffgs_jax.models.contributions import Shares, of_denoised_views, shares
from diffgs_jax.models.generation import make_denoiser
from diffgs_jax.rasterizer import Backend, Rendering, RenderSettings, expected_depth, render
from diffgs_jax.training.sharding import gather

_SEED = 0


class Preview(NamedTuple):
    """What a model makes of held-out samples.

    Attributes:
        columns: by what is shown, images `[rows, columns, h, w, 3]`, one row for each sample.
        shares: what the denoised views' Gaussians contribute, means over samples: their part of the opacity and of the
            blending weight of the targets' renderings, as predicted at half noise and as sampled. Empty for families
            whose Gaussians belong to no view, and where there are no targets.
    """

    columns: dict[str, Float[Array, "rows columns h w 3"]]
    shares: dict[str, float]


def make_preview(
    model: ModelConfig, data: DataConfig, run: RunConfig
) -> Callable[[Params, Frozen], tuple[Float[np.ndarray, "height width 3"], dict[str, float]]]:
    """Returns the function from weights to an image of samples and `Preview.shares`: always the same objects and noise.

    The objects are held-out ones; training objects where the data holds none out (`data.has_records`).

    Args:
        model: of a family that generates.
        data: where the objects are.
        run: says how many objects and steps.

    Raises:
        UserError: if there is no data; now, not when the first preview is due.
        DataError: if it cannot be read.
    """
    split: Split = "test" if has_records(data, "test") else "train"
    data = dataclasses.replace(
        with_fixed_conditions(data),
        batch_size=run.preview_objects,
        augmentation=CameraAugmentation(),
        random_background=0.0,
    )
    batches = training_batches(data, split=split, requirements=family(model).requirements(model))
    batch = next(batches)
    batches.close()

    def draw(params: Params, frozen: Frozen) -> tuple[np.ndarray, dict[str, float]]:
        columns, shares = preview(model, gather(params), frozen, batch, run.preview_steps)
        return labelled_columns({name: np.asarray(images) for name, images in columns.items()}), shares

    return draw


def preview(model: ModelConfig, params: Params, frozen: Frozen, batch: Batch, steps: int) -> Preview:
    """Returns what a preview shows, by what it is called there, and what denoised views contribute to it.

    From left to right: what is diffused as it is; the same with noise of half the schedule, and what the network makes
    of that in one call; what is sampled from pure noise by DDIM; and for families that make Gaussians the target views
    as they are, the sampled Gaussians rendered there, and the depth of that rendering, near bright. Families that do
    not diffuse have no noisy columns, and show what they are given.

    Args:
        model: of a family that generates.
        params: its weights.
        frozen: weights that it uses beside its own.
        batch: of held-out samples.
        steps: of DDIM.
    """
    module = family(model)
    request = request_of(batch)
    keys = jnp.stack([jax.random.key(_SEED)] * len(request.domain))
    shown: dict[str, Array] = {}
    made: dict[str, Any] = {}
    sampler = None
    if isinstance(module, Diffuses):
        sampler = make_sampler(module.schedule(model), "ddim", steps)
        *states, made["half_noise"] = _half_noised(model, params, frozen, batch, request, jax.random.key(_SEED))
        names = ("true, given first", "half noise", "made of that")
        for name, x in zip(names, states, strict=True):
            shown[name] = _images_of(module.decode(model, params, frozen, request, x, None))
    *_, last = module.generate(model, params, frozen, request, Sampling(sampler), keys)
    shown["given" if sampler is None else "sampled from noise"] = _images_of(last.generated)
    gaussians, targets = last.generated.gaussians, batch.targets
    if gaussians is not None and targets is not None:
        needs = module.requirements(model)
        background = 1.0 if needs.background is None else needs.background
        rendering = _render(gaussians, targets.cameras, request.resolution, background, needs.backend, needs.rendering)
        shown["new, true"] = jnp.asarray(targets.images)
        shown["sampled"] = rendering.image
        shown["its depth"] = depth_images(rendering)
    return Preview(shown, _shares(model, made | {"sampled": gaussians}, request, batch))


def _shares(model: Any, made: dict[str, Any], request: Request, batch: Batch) -> dict[str, float]:
    """Returns `Preview.shares` of Gaussians by how they were made."""
    module, given = family(model), request.condition
    if not isinstance(module, AlignsToViews) or batch.targets is None:
        return {}
    owners = module.views_of_gaussians(model, request)
    count = 0 if given is None else given.images.shape[1]
    flags = np.arange(max(owners.max() + 1, 1)) < count
    chosen = of_denoised_views(owners, np.broadcast_to(flags, (len(request.domain), len(flags))))
    found = {}
    backend = module.requirements(model).backend
    for name, gaussians in made.items():
        part = _measure(gaussians, chosen, batch.targets.cameras, request.resolution, backend)
        found[f"preview/denoised_opacity_{name}"] = float(jnp.mean(part.opacity))
        found[f"preview/denoised_weight_{name}"] = float(jnp.mean(part.weight))
    return found


@functools.partial(jax.jit, static_argnums=(3, 4))
def _measure(gaussians: Any, chosen: Array, cameras: Any, resolution: int, backend: Backend) -> Shares:
    return shares(gaussians, chosen, cameras, resolution, backend=backend)


@functools.partial(jax.jit, static_argnums=0)
def _half_noised(
    model: Any, params: Params, frozen: Frozen, batch: Batch, request: Request, key: PRNGKeyArray
) -> tuple[Array, Array, Array, Any]:
    """Returns the clean state, the same with noise of half the schedule, and the prediction from that with its aux."""
    module = family(model)
    schedule = module.schedule(model)
    clean = module.clean_state(model, params, frozen, batch)
    row = schedule.steps // 2
    half = jnp.full(clean.shape[:1], row, jnp.int32)
    told = jnp.full(clean.shape[:1], schedule.timesteps[row])
    noisy = add_noise(schedule, clean, half, jax.random.normal(key, clean.shape, clean.dtype))
    return clean, noisy, *make_denoiser(model, params, frozen, request)(noisy, told)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _render(
    gaussians: Any, cameras: Any, resolution: int, background: float, backend: Backend, settings: RenderSettings
) -> Rendering:
    return render(
        gaussians,
        cameras,
        height=resolution,
        width=resolution,
        background=background,
        backend=backend,
        **settings.arguments(),
    )


def _images_of(generated: Generated) -> Array:
    """Returns the images `[b, columns, h, w, 3]`."""
    if generated.views is not None:
        return jnp.asarray(generated.views.images)
    assert generated.images is not None
    return jnp.asarray(generated.images)[:, None]


def depth_images(rendering: Rendering) -> Float[Array, "b v h w 3"]:
    """Returns grey images of the depth, from the nearest (white) to the farthest (black) pixel that is half covered.

    Uncovered pixels are black; all views of a sample share their range.
    """
    depth, is_covered = expected_depth(rendering), rendering.alpha > 0.5
    near = jnp.min(jnp.where(is_covered, depth, jnp.inf), axis=(1, 2, 3), keepdims=True)
    far = jnp.max(jnp.where(is_covered, depth, -jnp.inf), axis=(1, 2, 3), keepdims=True)
    nearness = (far - depth) / jnp.maximum(far - near, 1e-6)
    grey = jnp.where(is_covered, 0.1 + 0.9 * nearness, 0.0)
    return jnp.broadcast_to(grey[..., None], (*depth.shape, 3))
