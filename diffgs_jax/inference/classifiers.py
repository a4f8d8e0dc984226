"""Classifiers of noisy images, loaded to guide a model of images."""

import functools
import pathlib

import numpy as np

from diffgs_jax.checkpoints import read_metadata
from diffgs_jax.config import TrainConfig, from_dict
from diffgs_jax.errors import UserError
from diffgs_jax.inference.hub import checkpoint_folder
from diffgs_jax.models import Classifier, Diffuses, Guides, family
from diffgs_jax.models.stored import StoredModel, load_stored


def load_classifier(folder: pathlib.Path, scale: float, guided: TrainConfig) -> Classifier:
    """Loads a classifier that is to guide a model.

    Args:
        folder: of its run or its checkpoints, or `hub:owner/name`.
        scale: how hard it pushes.
        guided: settings of the model that it guides.

    Raises:
        UserError: if it is none, or of other images or noise.
        DataError: if it cannot be read.
    """
    resolution, stored = _read(folder)
    classifier, module = family(stored.config), family(guided.model)
    if not isinstance(classifier, Guides) or not isinstance(module, Diffuses):
        raise UserError(f"{folder} is no classifier that could guide this model")
    if resolution != guided.data.resolution:
        raise UserError(f"{folder} knows images of {resolution} pixels, and this model of {guided.data.resolution}")
    ours, theirs = module.schedule(guided.model), classifier.noise_schedule(stored.config)
    if not np.array_equal(ours.alpha, theirs.alpha):
        raise UserError(f"{folder} was trained with another noise schedule than this model")
    return Classifier(stored.config, stored.params, stored.frozen, np.asarray(scale, np.float32))


@functools.lru_cache(maxsize=2)
def _read(folder: pathlib.Path) -> tuple[int, StoredModel]:
    """Returns the side of the images that it knows, pixels, and the model."""
    place = checkpoint_folder(folder)
    config = from_dict(read_metadata(place)["config"], str(folder))
    return config.data.resolution, load_stored(place, "sampling")
