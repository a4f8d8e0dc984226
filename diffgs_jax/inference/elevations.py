"""How high above an object's horizon a picture was taken, as a network sees it."""

import dataclasses
import functools
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from diffgs_jax.checkpoints import read_metadata
from diffgs_jax.config import from_dict
from diffgs_jax.errors import UserError
from diffgs_jax.inference.hub import BUNDLED_FOLDER
from diffgs_jax.models import Predicts, family
from diffgs_jax.models.stored import StoredModel, load_stored

BUNDLED_ESTIMATOR = BUNDLED_FOLDER / "elevations"
"""The estimator that comes with the package."""


@dataclasses.dataclass(frozen=True)
class ElevationEstimator:
    """A trained model that predicts elevations.

    Attributes:
        model: its settings and weights.
        resolution: height and width of the pictures it was trained on, pixels.
    """

    model: StoredModel
    resolution: int


def load_estimator(checkpoint: str | os.PathLike[str] | None = None) -> ElevationEstimator:
    """Loads a model that predicts elevations; the one that comes with the package by default.

    Raises:
        UserError: if there is no checkpoint, or its model predicts none.
        DataError: if it cannot be read.
    """
    folder = pathlib.Path(BUNDLED_ESTIMATOR if checkpoint is None else checkpoint)
    if checkpoint is None and not folder.exists():
        raise UserError("this installation comes without an estimator of elevations: name one with --elevation-model")
    return _load(folder)


@functools.lru_cache(maxsize=2)
def _load(folder: pathlib.Path) -> ElevationEstimator:
    config = from_dict(read_metadata(folder)["config"], str(folder))
    if not isinstance(family(config.model), Predicts):
        raise UserError(f"{folder} holds no model that estimates elevations")
    return ElevationEstimator(load_stored(folder, "sampling"), config.data.resolution)


def estimate_elevation(estimator: ElevationEstimator, image: Float[np.ndarray, "h w 3"]) -> float:
    """Returns how high above the object's horizon a picture was taken, degrees, to two decimals.

    Args:
        estimator: of `load_estimator`.
        image: of one object, on white, in [0, 1].

    Raises:
        UserError: if the model predicts something else.
    """
    model = estimator.model
    found: dict[str, Any] = family(model.config).predict(model.config, model.params, model.frozen, image[None])
    if "elevation" not in found:
        raise UserError(f"the estimator predicts {', '.join(found)}, and no elevation")
    return round(float(found["elevation"][0]), 2)
