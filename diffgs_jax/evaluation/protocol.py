"""Single view in, all other views out: what a model makes of one picture, held against every other view of the object.

For each object one stored view is the condition; the network denoises the model's own rig of cameras from pure noise,
and the Gaussians of the last step are rendered at all other stored views, none of which the network was given.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.diffusion import Denoise, Sampler, sample
from diffgs_jax.evaluation.baselines import Picture
from diffgs_jax.evaluation.metrics import score_views
from diffgs_jax.evaluation.objects import Cases, PosedObject, derangement, make_cases
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views
from diffgs_jax.models.perceptual import LPIPSWeights, Network, load_lpips
from diffgs_jax.rasterizer import render

Scores = dict[str, list[np.ndarray]]
"""For each metric and object, the values `[t]` of its target views."""


@dataclasses.dataclass(frozen=True)
class ProtocolConfig:
    """What is decided once for every model and baseline of a table."""

    batch_size: int = 8
    """Objects that are sampled and rendered together."""
    background: float = 1.0
    """Grey level in [0, 1] behind all views; the model's."""
    seed: int = 0
    """An object's first noise is a function of this and of its place in the split."""
    lpips: tuple[Network, ...] = ()
    """Networks to score LPIPS with; their weights must be installed (`usable_lpips` says which can be used)."""


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
    def sample_gaussians(params: Any, images: Array, cameras: Cameras, indices: Array, batch: Array) -> Gaussians:
        views = rig_views(images, cameras, rig_cameras)
        key = jax.random.key(config.seed)
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)
        noise = jax.vmap(lambda k: jax.random.normal(k, views.images.shape[1:]))(keys)
        # Samplers that add noise on the way draw it for a batch as a whole.
        on_the_way = jax.random.fold_in(jax.random.fold_in(key, 0x7FFFFFFF), batch)
        return sample(denoiser(params, views), sampler, noise, on_the_way).aux

    def gaussians(params: Any, cases: Cases, indices: np.ndarray, batch: int) -> Gaussians:
        return sample_gaussians(params, cases.condition_images, cases.condition_cameras, indices, batch)

    return Predictor(gaussians, functools.partial(_render_views, resolution=resolution, background=config.background))


@functools.partial(jax.jit, static_argnames=("resolution", "background"))
def _render_views(gaussians: Gaussians, cameras: Cameras, *, resolution: int, background: float) -> Picture:
    rendering = render(gaussians, cameras, height=resolution, width=resolution, background=background)
    return Picture(rendering.image, rendering.alpha)


def rig_views(images: Float[Array, "b h w 3"], cameras: Cameras, rig_cameras: Cameras) -> Views:
    """Returns what a denoiser is asked: `[b, 1 + v]` views, the condition and then the rig, whose images are zero.

    Args:
        images: condition views in [0, 1].
        cameras: their cameras, `[b]`, at azimuth 0.
        rig_cameras: `[v]`, the same for every sample.
    """
    batch, count = images.shape[0], rig_cameras.intrinsics.shape[0]
    joined = Cameras(
        *(
            jnp.concatenate([jnp.asarray(one)[:, None], jnp.broadcast_to(rig, (batch, *rig.shape))], axis=1)
            for one, rig in zip(cameras, rig_cameras, strict=True)
        )
    )
    return Views(
        images=jnp.pad(images[:, None], ((0, 0), (0, count), (0, 0), (0, 0), (0, 0))),
        cameras=joined,
        is_condition=jnp.broadcast_to(jnp.arange(count + 1) == 0, (batch, count + 1)),
        domain=jnp.full((batch,), OBJECT, jnp.int32),
    )


class Evaluation(NamedTuple):
    """What a model scored on a split.

    Attributes:
        scores: with each object's own picture as the condition.
        swapped: with another object's; None for a single object.
        predictions: for each object, its target views as predicted, `[t, s, s, 3]` in bytes, on the background.
    """

    scores: Scores
    swapped: Scores | None
    predictions: list[np.ndarray]


def evaluate_model(
    predictor: Predictor,
    params: Any,
    objects: Sequence[PosedObject],
    config: ProtocolConfig,
    on_batch: Callable[[int], object] = lambda objects: None,
) -> Evaluation:
    """Runs the protocol, and again with every object's Gaussians exchanged for another's (`derangement`).

    The exchanged Gaussians were made from the other object's picture in the frame of that picture's camera, and are
    rendered at this object's target cameras: if a model ignores its condition, the two scores are equal.

    Args:
        predictor: the model.
        params: its weights.
        objects: all of one resolution.
        config: the protocol.
        on_batch: called with the number of objects done since the last call, in either pass.
    """
    made: list[Gaussians] = []
    scores: Scores = {}
    predictions = []
    for batch, (cases, indices, real) in enumerate(_batches(objects, config)):
        # On the host, as in the second pass: an array that is committed to a device would compile everything twice.
        gaussians = jax.device_get(predictor.gaussians(params, cases, indices, batch))
        seen = predictor.views(gaussians, cases.target_cameras)
        _append_scores(scores, seen, cases, real, config.lpips)
        made += [Gaussians(*(leaf[i] for leaf in gaussians)) for i in range(real)]
        pixels = np.asarray(jnp.round(jnp.clip(seen.image, 0, 1) * 255).astype(jnp.uint8))
        predictions += [pixels[i][cases.is_target[i]] for i in range(real)]
        on_batch(real)
    if len(objects) < 2:
        return Evaluation(scores, None, predictions)

    swapped: Scores = {}
    other = derangement(len(objects))
    for cases, indices, real in _batches(objects, config):
        strangers = [made[other[index]] for index in indices]
        gaussians = Gaussians(*(np.stack(leaves) for leaves in zip(*strangers, strict=True)))
        # Without LPIPS, which takes longer than all the rest: what a condition is worth is told in decibels.
        _append_scores(swapped, predictor.views(gaussians, cases.target_cameras), cases, real, ())
        on_batch(real)
    return Evaluation(scores, swapped, predictions)


def evaluate_pictures(
    paint: Callable[[Cases], Picture], objects: Sequence[PosedObject], config: ProtocolConfig
) -> Scores:
    """Scores anything that paints the target views of a batch of cases, a baseline for example.

    Args:
        paint: returns `[b, t]` views; called with batches of one shape.
        objects: all of one resolution.
        config: the protocol.
    """
    scores: Scores = {}
    for cases, _, real in _batches(objects, config):
        _append_scores(scores, paint(cases), cases, real, config.lpips)
    return scores


def _batches(objects: Sequence[PosedObject], config: ProtocolConfig) -> Iterator[tuple[Cases, np.ndarray, int]]:
    """Yields `(cases, indices, real)`; the last batch is filled up with its last object, so that nothing recompiles."""
    targets = max(len(item.images) for item in objects) - 1
    size = min(config.batch_size, len(objects))
    for start in range(0, len(objects), size):
        indices = np.minimum(np.arange(start, start + size), len(objects) - 1)
        cases = make_cases([objects[i] for i in indices], targets)
        yield cases, indices, min(size, len(objects) - start)


_score_views = jax.jit(score_views)


@functools.cache
def _lpips_weights(network: Network) -> LPIPSWeights:
    return jax.device_put(load_lpips(network))


def _append_scores(scores: Scores, seen: Picture, cases: Cases, real: int, networks: tuple[Network, ...]) -> None:
    weights = {network: _lpips_weights(network) for network in networks}
    values = _score_views(seen.image, seen.alpha, cases.target_images, cases.target_alphas, weights)
    for name, array in values.items():
        array = np.asarray(array)
        scores.setdefault(name, []).extend(array[i][cases.is_target[i]] for i in range(real))


def mean_scores(scores: Scores) -> dict[str, float]:
    """Returns each metric's mean over views, then over objects: every object counts alike."""
    return {name: float(np.mean([np.mean(views) for views in objects])) for name, objects in scores.items()}
