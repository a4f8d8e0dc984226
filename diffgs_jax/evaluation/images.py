"""How good a model of images is: generated images against held-out ones, as sets, and against the training images.

Sets are told apart by VGG16's features (`distances`), and every set of a table is as large as the others, since the
Fréchet distance falls with the number of images. Whether images are copies is told by the nearest training image of
each: images that were held out say how near strangers come.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from diffgs_jax.data import RecordStore, load_views
from diffgs_jax.errors import UserError
from diffgs_jax.evaluation.distances import frechet_distance, kernel_distance
from diffgs_jax.evaluation.objects import spread
from diffgs_jax.evaluation.perceptual import vgg_features
from diffgs_jax.models import Frozen, ModelConfig, Params, Request, Sampling, family
from diffgs_jax.models.losses import LPIPSWeights

TRAINING, MEAN, HELD_OUT = "training images", "mean training image", "held-out images"
"""Rows that `evaluate_images` adds: as near as a model of the training images can come; what needs no model; strangers,
of which only the nearest training images are looked at."""

_BLOCK = 512  # images whose distances to all training images are in memory at a time
_features = jax.jit(vgg_features)


class ImageScores(NamedTuple):
    """What was found of one set of images; None where it means nothing.

    Attributes:
        fd_vgg16: Fréchet distance of VGG16's features to those of the held-out images.
        kd_vgg16: kernel distance, likewise.
        nearest: median root-mean-square difference to the nearest training image, of colours in [0, 1].
    """

    fd_vgg16: float | None
    kd_vgg16: float | None
    nearest: float | None


class Neighbours(NamedTuple):
    """The nearest training image of each image of a set.

    Attributes:
        index: `[n]`, which one.
        distance: `[n]`, root-mean-square difference of colours in [0, 1].
    """

    index: Int[np.ndarray, "n"]
    distance: Float[np.ndarray, "n"]


class ImageEvaluation(NamedTuple):
    """A table of sets of images, and their nearest training images.

    Attributes:
        scores: of each set, by its name; the last rows are `TRAINING`, `MEAN` and `HELD_OUT`.
        neighbours: of each set that was given, by its name.
    """

    scores: dict[str, ImageScores]
    neighbours: dict[str, Neighbours]


def evaluate_images(
    sets: Mapping[str, Float[np.ndarray, "_ h w 3"]],
    held_out: Float[np.ndarray, "m h w 3"],
    training: Float[np.ndarray, "k h w 3"],
    weights: LPIPSWeights,
    *,
    seed: int = 0,
) -> ImageEvaluation:
    """Compares sets of images with held-out images and with the training images.

    Args:
        sets: by name, for example what a model generates and what it generates before training; equally many in each.
        held_out: images that no model has seen, in [0, 1].
        training: all the images that the models were trained on.
        weights: of VGG16, `load_lpips("vgg")`.
        seed: of the choice of training images for their row.

    Raises:
        UserError: if sets differ in size or are larger than `training`, or the images are too small for VGG16.
    """
    sizes = {len(images) for images in sets.values()}
    if len(sizes) != 1 or not 2 <= (size := sizes.pop()) <= len(training):
        raise UserError(
            f"sets of {sorted(map(len, sets.values()))} images cannot be compared: give equally many in each, at least "
            f"2 and at most as many as there are training images ({len(training)})"
        )
    chosen = np.random.default_rng(seed).choice(len(training), size, replace=False)
    mean = np.broadcast_to(training.mean(axis=0, dtype=np.float64).astype(np.float32), (size, *training.shape[1:]))
    truth = np.asarray(_features(weights, held_out))
    scores, neighbours = {}, {}
    for name, images in [*sets.items(), (TRAINING, training[chosen]), (MEAN, mean)]:
        seen = np.asarray(_features(weights, images))
        nearest = None
        if name in sets:
            neighbours[name] = nearest_images(images, training)
            nearest = float(np.median(neighbours[name].distance))
        scores[name] = ImageScores(frechet_distance(seen, truth), kernel_distance(seen, truth), nearest)
    strangers = nearest_images(held_out, training)
    scores[HELD_OUT] = ImageScores(None, None, float(np.median(strangers.distance)))
    return ImageEvaluation(scores, neighbours)


def nearest_images(images: Float[np.ndarray, "n h w 3"], among: Float[np.ndarray, "k h w 3"]) -> Neighbours:
    """Returns which of the other images is nearest to each, in squared difference of colours."""
    flat, others = (batch.reshape(len(batch), -1).astype(np.float64) for batch in (images, among))
    lengths = np.sum(others**2, axis=1)
    index, distance = np.empty(len(flat), np.int64), np.empty(len(flat))
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        index[start : start + len(block)] = np.argmin(lengths - 2 * block @ others.T, axis=1)
        # Worked out anew: the difference of squares has no digits left where two images are equal.
        difference = block - others[index[start : start + len(block)]]
        distance[start : start + len(block)] = np.sqrt(np.mean(difference**2, axis=1))
    return Neighbours(index, distance)


def sample_images(
    model: ModelConfig,
    params: Params,
    frozen: Frozen,
    sampling: Sampling,
    count: int,
    resolution: int,
    *,
    seed: int = 0,
    batch_size: int = 50,
    labels: Int[np.ndarray, "count"] | None = None,
) -> Float[np.ndarray, "count h w 3"]:
    """Returns images of a family that makes some and needs to be given nothing.

    Image i is what `diffgs_jax.sample` makes of the seed `seed` + i, whatever the size of the batches.

    Args:
        model: of the family.
        params: its weights.
        frozen: weights that it uses beside its own.
        sampling: how.
        count: how many.
        resolution: height and width, pixels.
        seed: of the first one's noise.
        batch_size: images that are sampled together.
        labels: classes, −1 for none; None for none at all.

    Raises:
        UserError: if the family makes no images or must be given some.
    """
    module = family(model)
    needs = module.requirements(model)
    if needs.makes != "images" or needs.condition_views[0] or needs.prompt == "required":
        raise UserError("images can be asked of models alone that make them of nothing but noise")
    batch_size = min(batch_size, count)
    images = []
    for start in range(0, count, batch_size):
        # The last batch is filled up, so that one program makes all of them.
        numbers = np.arange(start, start + batch_size)
        request = Request(
            resolution=resolution,
            domain=jnp.zeros(batch_size, jnp.int32),
            labels=None if labels is None else jnp.asarray(labels[numbers % count]),
        )
        keys = jax.vmap(jax.random.key)(jnp.asarray(seed + numbers))
        *_, last = module.generate(model, params, frozen, request, sampling, keys)
        images.append(np.asarray(last.generated.images))
    return np.concatenate(images)[:count]


def read_images(
    store: RecordStore, resolution: int, *, background: float = 1.0, most_records: int | None = None
) -> Float[np.ndarray, "n h w 3"]:
    """Returns the views of a record store as images without a pose, record by record.

    Args:
        store: one side of a dataset.
        resolution: height and width, pixels.
        background: grey level in [0, 1] under transparent pixels.
        most_records: read so many of them, spread evenly; all by default.

    Raises:
        DataError: if a record cannot be read.
    """
    chosen = spread(len(store), len(store) if most_records is None else most_records)
    return np.concatenate([load_views(store[index], resolution, background)[0] for index in chosen])
