"""A model as a protocol calls it: images and cameras in, Gaussians out, and views of them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int32

from diffgs_jax.diffusion import Sampler
from diffgs_jax.errors import UserError
from diffgs_jax.evaluation.baselines import ViewImages
from diffgs_jax.evaluation.objects import Cases
from diffgs_jax.evaluation.scoring import ProtocolConfig
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views
from diffgs_jax.inference.filtering import filtered, rendering_of
from diffgs_jax.models import AlignsToViews, Frozen, ModelConfig, Request, Sampling, family
from diffgs_jax.models.contributions import Shares, of_denoised_views, shares
from diffgs_jax.rasterizer import Backend, RenderSettings, expected_depth, render


class Predictor(NamedTuple):
    """A model behind two functions.

    Attributes:
        gaussians: `(params, cases) -> Gaussians [b, n]`.
        views: `(Gaussians [b, n], cameras [b, t]) -> ViewImages [b, t]`, at the training resolution.
        finer_views: the same at twice the training resolution; None where that is not asked for.
        shares: what the denoised views' Gaussians contribute to the target views; None for families whose Gaussians
            belong to no view, and that denoise none.
    """

    gaussians: Callable[[Any, Cases], Gaussians]
    views: Callable[[Gaussians, Cameras], ViewImages]
    finer_views: Callable[[Gaussians, Cameras], ViewImages] | None = None
    shares: Callable[[Gaussians, Cases], Shares] | None = None


def make_predictor(
    model: ModelConfig,
    frozen: Frozen,
    sampler: Sampler | None,
    rig_cameras: Cameras,
    resolution: int,
    config: ProtocolConfig,
    *,
    variance: float = 0.0,
    remade: bool = False,
) -> Predictor:
    """Returns a model's predictor, for any of its weights: a run that is scored on the way compiles once.

    Every object is sampled with the protocol's seed, so that it is what `diffgs_jax.sample --seed` makes of its
    condition view.

    Args:
        model: of a family that makes Gaussians.
        frozen: weights that it uses beside its own.
        sampler: the steps from noise to views; None for families that take none.
        rig_cameras: `[v]`, of the views to generate, azimuths counted from the condition view.
        resolution: height and width of all views, pixels.
        config: the protocol, for the background and the seed.
        variance: of the filter that is made part of the Gaussians, square pixels (`inference/filtering.py`).
        remade: the views that are shown are no clean conditions but the start of views to generate, noised as far as
            the sampler begins; for models that were trained without clean views. Then the rig has no cameras.

    Raises:
        UserError: if the family makes no Gaussians.
    """
    module = family(model)
    if module.requirements(model).makes != "gaussians":
        raise UserError("views of objects can be asked of models that make Gaussians only")

    def request_of(cases: Cases) -> Request:
        cameras = rig_cameras if cases.denoised_cameras is None else cases.denoised_cameras
        request = request_views(cases.condition_images, cases.condition_cameras, cameras, resolution, cases.domain)
        request = _with_further(request, cases)
        if remade and request.condition is not None:
            return dataclasses.replace(request, mask=np.ones(request.condition.images.shape[:4], bool))
        return request

    def gaussians(params: Any, cases: Cases) -> Gaussians:
        request = request_of(cases)
        keys = jax.numpy.stack([jax.random.key(config.seed)] * len(cases.condition_images))
        start = request.condition.images if remade and request.condition is not None else None
        *_, last = module.generate(model, params, frozen, request, Sampling(sampler, start=start), keys)
        return filtered(last.generated.gaussians, request, variance)

    def contributions(gaussians: Gaussians, cases: Cases) -> Shares:
        request = request_of(cases)
        given = 0 if request.condition is None or remade else request.condition.images.shape[1]
        owners = module.views_of_gaussians(model, request)
        flags = np.broadcast_to(np.arange(owners.max() + 1) < given, (len(request.domain), owners.max() + 1))
        chosen = of_denoised_views(owners, flags)
        return _measure(gaussians, chosen, cases.target_cameras, resolution=resolution, **of_shares)

    of_shares = {"settings": rendering_of(module.requirements(model), variance)}
    of_shares["backend"] = module.requirements(model).backend
    settings = {
        "background": config.background,
        "rendering": rendering_of(module.requirements(model), variance),
        "backend": module.requirements(model).backend,
    }
    render_at = functools.partial(_render_views, **settings)
    return Predictor(
        gaussians,
        functools.partial(render_at, resolution=resolution),
        functools.partial(render_at, resolution=2 * resolution),
        contributions if isinstance(module, AlignsToViews) else None,
    )


_measure = jax.jit(shares, static_argnames=("resolution", "settings", "backend"))


@functools.partial(jax.jit, static_argnames=("resolution", "background", "rendering", "backend"))
def _render_views(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    resolution: int,
    background: float,
    rendering: RenderSettings,
    backend: Backend,
) -> ViewImages:
    seen = render(
        gaussians,
        cameras,
        height=resolution,
        width=resolution,
        background=background,
        backend=backend,
        **rendering.arguments(),
    )
    return ViewImages(seen.image, seen.alpha, expected_depth(seen))


def request_views(
    images: Float[np.ndarray, "b h w 3"],
    cameras: Cameras,
    generated_cameras: Cameras,
    resolution: int,
    domain: Int32[np.ndarray, "b"] | None = None,
) -> Request:
    """Returns what a model is asked: to generate views beside one that is given.

    Args:
        images: condition views in [0, 1].
        cameras: their cameras, `[b]`, an object's at azimuth 0.
        generated_cameras: `[v]`, the same for every sample, or `[b, v]`.
        resolution: height and width of all views, pixels.
        domain: `OBJECT` or `SCENE` of each; objects by default.
    """
    batch, count = images.shape[0], generated_cameras.intrinsics.shape[-2]
    domain = np.full((batch,), OBJECT, np.int32) if domain is None else domain
    given = Views(
        images[:, None],
        Cameras(*(np.asarray(leaf)[:, None] for leaf in cameras)),
        np.ones((batch, 1), bool),
        domain,
    )
    shapes = ((batch, count, 4, 4), (batch, count, 4))
    others = Cameras(*(np.broadcast_to(leaf, shape) for leaf, shape in zip(generated_cameras, shapes, strict=True)))
    return Request(resolution, domain, given, others)


def _with_further(request: Request, cases: Cases) -> Request:
    """Returns a request that gives the views that are shown beside the condition view, too."""
    if cases.further_images is None:
        return request
    given = request.condition
    assert given is not None and cases.further_cameras is not None and cases.further_alphas is not None
    images = np.concatenate([given.images, cases.further_images], axis=1)
    alphas = np.concatenate([cases.condition_alphas[:, None], cases.further_alphas], axis=1)
    pairs = zip(given.cameras, cases.further_cameras, strict=True)
    cameras = Cameras(*(np.concatenate([np.asarray(a), np.asarray(b)], axis=1) for a, b in pairs))
    views = Views(images, cameras, np.ones(images.shape[:2], bool), given.domain, alphas)
    return dataclasses.replace(request, condition=views)
