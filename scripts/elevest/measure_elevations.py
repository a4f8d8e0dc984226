"""How far an estimator of elevations is off, on views of objects that it was not trained on.

    python scripts/elevest/measure_elevations.py --checkpoint runs/elevest_furniture_112 --data data/furniture_128

Prints the mean and the median absolute error in degrees, beside those of the best constant, for all views in the
model's range; views of cameras that are spread over a sphere are weighted as if they were spread evenly in elevation.
"""

import dataclasses
import pathlib
from typing import Literal

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import Split, load_views, open_store
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.inference import load_estimator
from diffgs_jax.models import family
from diffgs_jax.models.elevest import ElevEstConfig
from diffgs_jax.models.elevest.loss import camera_elevations

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class MeasureElevationsConfig:
    """What is measured, and on what."""

    checkpoint: pathlib.Path
    """Of the estimator."""
    data: pathlib.Path
    """A record store."""
    split: Split = "test"
    """Which side of it."""
    views_are: Literal["uniform", "over_sphere"] = "over_sphere"
    """How its cameras are spread."""


def main(config: MeasureElevationsConfig) -> None:
    """Runs the command line."""
    estimator = load_estimator(config.checkpoint)
    model = estimator.model
    if not isinstance(model.config, ElevEstConfig):
        raise UserError(f"{config.checkpoint} holds no elevest model")
    store, true, found = open_store(config.data, config.split), [], []
    for record in tqdm(store, total=len(store), unit="object"):
        images, _, cameras = load_views(record, estimator.resolution, 1.0)
        elevations = np.asarray(camera_elevations(np.asarray(cameras.camera_to_world)))
        inside = (elevations >= model.config.lowest) & (elevations <= model.config.highest)
        for start in range(0, len(images), _BATCH):  # of one size, so that one program is compiled
            part = slice(start, start + _BATCH)
            batch = np.zeros((_BATCH, *images.shape[1:]), np.float32)
            batch[: len(images[part])] = images[part]
            predicted = family(model.config).predict(model.config, model.params, model.frozen, batch)["elevation"]
            found.append(np.asarray(predicted)[: len(images[part])][inside[part]])
            true.append(elevations[part][inside[part]])
    truth, estimate = np.concatenate(true), np.concatenate(found)
    weights = 1 / np.cos(np.radians(truth)) if config.views_are == "over_sphere" else np.ones_like(truth)
    errors = np.abs(estimate - truth)
    constant = weighted_median(truth, weights)
    print(
        f"{len(truth)} views of {len(store)} objects from {model.config.lowest:g} to {model.config.highest:g} degrees"
    )
    print(f"mean absolute error {np.average(errors, weights=weights):.2f} degrees, ", end="")
    print(f"median {weighted_median(errors, weights):.2f}")
    best = np.average(np.abs(truth - constant), weights=weights)
    print(f"the best constant, {constant:.1f} degrees: mean absolute error {best:.2f} degrees")
    edges = np.linspace(model.config.lowest, model.config.highest, 6)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        there = (truth >= low) & (truth < high)
        bias = float(np.mean(estimate[there] - truth[there]))
        print(f"{low:5.0f} to {high:3.0f}: mean absolute error {errors[there].mean():5.2f}, bias {bias:+.2f}")


def weighted_median(values: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"]) -> float:
    """Returns the value below which half of the weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


if __name__ == "__main__":
    with report_errors():
        main(parse_options(MeasureElevationsConfig, description=__doc__))
