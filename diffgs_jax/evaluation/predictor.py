"""A model as a protocol calls it: pictures and cameras in, Gaussians out, and views of them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from diffgs_jax.diffusion import Denoise, Sampler, sample
from diffgs_jax.evaluation.baselines import Picture
from diffgs_jax.evaluation.objects import Cases
from diffgs_jax.evaluation.scoring import ProtocolConfig
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views
from diffgs_jax.rasterizer import expected_depth, render


class Predictor(NamedTuple):
    """A model behind two compiled functions.

    Attributes:
        gaussians: `(params, cases, indices [b], batch) -> Gaussians [b, n]`.
        views: `(Gaussians [b, n], cameras [b, t]) -> Picture [b, t]`.
    """

    gaussians: Callable[[Any, Cases, np.ndarray, int], Gaussians]
    views: Callable[[Gaussians, Cameras], Picture]


def make_predictor(
    denoiser: Callable[[Any, Views], Denoise],
    sampler: Sampler,
    rig_cameras: Cameras,
    resolution: int,
    config: ProtocolConfig,
) -> Predictor:
    """Returns a model's predictor, for any of its weights: a run that is scored on the way compiles once.

    Args:
        denoiser: `(params, views) -> Denoise` of a model family, its config bound; aux must be `Gaussians`.
        sampler: the steps from noise to views.
        rig_cameras: `[v]`, of the views to denoise, azimuths counted from the condition view.
        resolution: height and width of all views, pixels.
        config: the protocol, for the background and the seed.
    """

    @jax.jit
    def sample_gaussians(params: Any, asked: Views, indices: Array, batch: Array) -> Gaussians:
        views = jax.tree.map(jnp.asarray, asked)
        key = jax.random.key(config.seed)
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)
        noise = jax.vmap(lambda k: jax.random.normal(k, views.images.shape[1:]))(keys)
        # Samplers that add noise on the way draw it for a batch as a whole.
        on_the_way = jax.random.fold_in(jax.random.fold_in(key, 0x7FFFFFFF), batch)
        return sample(denoiser(params, views), sampler, noise, on_the_way).aux

    def gaussians(params: Any, cases: Cases, indices: np.ndarray, batch: int) -> Gaussians:
        cameras = rig_cameras if cases.denoised_cameras is None else cases.denoised_cameras
        asked = views_to_denoise(cases.condition_images, cases.condition_cameras, cameras, cases.domain)
        return sample_gaussians(params, asked, indices, batch)

    return Predictor(gaussians, functools.partial(_render_views, resolution=resolution, background=config.background))


@functools.partial(jax.jit, static_argnames=("resolution", "background"))
def _render_views(gaussians: Gaussians, cameras: Cameras, *, resolution: int, background: float) -> Picture:
    rendering = render(gaussians, cameras, height=resolution, width=resolution, background=background)
    return Picture(rendering.image, rendering.alpha, expected_depth(rendering))


def views_to_denoise(
    images: Float[np.ndarray, "b h w 3"],
    cameras: Cameras,
    denoised_cameras: Cameras,
    domain: Int32[np.ndarray, "b"] | None = None,
) -> Views:
    """Returns what a denoiser is asked: `[b, 1 + v]` views, the condition and then those to denoise, images zero.

    Args:
        images: condition views in [0, 1].
        cameras: their cameras, `[b]`, an object's at azimuth 0.
        denoised_cameras: `[v]`, the same for every sample, or `[b, v]`.
        domain: `OBJECT` or `SCENE` of each; objects by default.
    """
    batch, count = images.shape[0], denoised_cameras.intrinsics.shape[-2]

    def join(one: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.concatenate([one[:, None], np.broadcast_to(others, (batch, count, *one.shape[1:]))], axis=1)

    pairs = zip(cameras, denoised_cameras, strict=True)
    joined = Cameras(*(join(np.asarray(one), np.asarray(others)) for one, others in pairs))
    return Views(
        images=np.pad(images[:, None], ((0, 0), (0, count), (0, 0), (0, 0), (0, 0))),
        cameras=joined,
        is_condition=np.tile(np.arange(count + 1) == 0, (batch, 1)),
        domain=np.full((batch,), OBJECT, np.int32) if domain is None else domain,
    )
