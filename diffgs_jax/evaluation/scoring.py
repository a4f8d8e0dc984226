"""One batch of predicted views, scored: every metric of every view, and the features that sets are compared by."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffgs_jax.evaluation.baselines import ViewImages
from diffgs_jax.evaluation.depth import consistency, depth_error
from diffgs_jax.evaluation.inception import inception_features
from diffgs_jax.evaluation.metrics import score_views
from diffgs_jax.evaluation.objects import Cases
from diffgs_jax.evaluation.perceptual import perceptual_scores, vgg_features
from diffgs_jax.geometry import SCENE, Cameras
from diffgs_jax.models.losses import LPIPSNetwork, LPIPSWeights, load_lpips


@dataclasses.dataclass(frozen=True)
class ProtocolConfig:
    """What is decided once for every model and baseline of a table."""

    batch_size: int = 8
    """Objects that are sampled and rendered together."""
    background: float = 1.0
    """Grey level in [0, 1] behind all views; the model's."""
    seed: int = 0
    """Of every object's noise, as in `diffgs_jax.sample --seed`."""
    lpips: tuple[LPIPSNetwork, ...] = ()
    """Networks to score LPIPS with; their weights must be installed (`usable_lpips` says which can be used). With VGG16
    among them, the features of distances of sets are collected too."""
    inception: str | None = None
    """File of an Inception network to collect features with, for FID and KID."""


class BatchScores(NamedTuple):
    """What was found of a batch of views.

    Attributes:
        scores: `[b, t]` each, by the metric's name.
        features: `[b, t, d]` each, by the network's name: `vgg16`, `inception`.
    """

    scores: dict[str, np.ndarray]
    features: dict[str, np.ndarray]


def score_batch(seen: ViewImages, cases: Cases, config: ProtocolConfig) -> BatchScores:
    """Returns every metric of predicted views, `[b, t]`.

    Args:
        seen: the target views of the cases as predicted; metrics of depth are left out where it has none.
        cases: the truth.
        config: says which metrics.
    """
    weights = {network: lpips_weights(network) for network in config.lpips}
    is_scene = bool(np.any(cases.domain == SCENE))
    alphas = None if is_scene else cases.target_alphas
    scores, features = jax.device_get(_score(seen.image, seen.alpha, cases.target_images, alphas, weights))
    if seen.depth is not None:
        depths = cases.target_depths
        scores |= jax.device_get(_score_depth(seen, cases.target_cameras, jnp.asarray(cases.is_target), depths))
    if config.inception is not None:
        features["inception"] = _inception(config.inception, np.asarray(seen.image))
    return BatchScores(scores, features)


def true_features(cases: Cases, config: ProtocolConfig) -> dict[str, np.ndarray]:
    """Returns the features of the true target views, as `BatchScores.features` has them of predicted ones."""
    features = {}
    if "vgg" in config.lpips:
        features["vgg16"] = np.asarray(_vgg_features(lpips_weights("vgg"), cases.target_images))
    if config.inception is not None:
        features["inception"] = _inception(config.inception, cases.target_images)
    return features


@functools.cache
def lpips_weights(network: LPIPSNetwork) -> LPIPSWeights:
    """Returns a network's weights on the device, read once.

    Raises:
        UserError: if they are not installed.
    """
    return jax.device_put(load_lpips(network))


_vgg_features = jax.jit(vgg_features)


@jax.jit
def _score(
    image: Array,
    alpha: Array,
    target: Array,
    target_alpha: Array | None,
    networks: Mapping[LPIPSNetwork, LPIPSWeights],
) -> tuple[dict[str, Array], dict[str, Array]]:
    looks = perceptual_scores(networks, image, target, target_alpha)
    return score_views(image, alpha, target, target_alpha) | looks.scores, looks.features


@jax.jit
def _score_depth(
    seen: ViewImages, cameras: Cameras, is_target: Array, true_depths: Float[Array, "b t h w"] | None
) -> dict[str, Array]:
    assert seen.depth is not None
    image = jnp.clip(jnp.asarray(seen.image), 0.0, 1.0)
    scores = {"consistency": jax.vmap(consistency)(image, seen.alpha, seen.depth, cameras, is_target)}
    if true_depths is not None:
        scores["depth_error"] = depth_error(seen.depth, seen.alpha, true_depths)
    return scores


def _inception(path: str, images: np.ndarray) -> np.ndarray:
    found = inception_features(path, images.reshape(-1, *images.shape[-3:]))
    return found.reshape(*images.shape[:-3], -1)
