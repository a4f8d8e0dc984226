"""What `evaluate.py` does with a model that makes images without a pose: distances of sets, copies, a grid."""

import pathlib
from typing import Any

import jax
import numpy as np

from diffgs_jax import evaluation
from diffgs_jax.commands.protocol_options import ProtocolOptions
from diffgs_jax.data import open_store
from diffgs_jax.errors import UserError
from diffgs_jax.files import write_json, write_text
from diffgs_jax.inference import Pipeline, SamplingOptions
from diffgs_jax.interop import square_grid, tile_images, write_image
from diffgs_jax.models import Sampling, family
from diffgs_jax.models.losses import load_lpips

MODEL, UNTRAINED = "this model", "untrained network"
_SHOWN = 64
_NEAREST = 12


def score_images(
    pipeline: Pipeline,
    options: ProtocolOptions,
    sampling: SamplingOptions,
    samples: int,
    training_data: pathlib.Path,
    folder: pathlib.Path,
) -> str:
    """Fills a folder with `evaluation.md`, `evaluation.json`, `grid.png` and `nearest.png`.

    Args:
        pipeline: of a model that makes images of nothing but noise.
        options: say which held-out images are compared with.
        sampling: how to sample.
        samples: images to generate.
        training_data: record store that the model learned from; copies are looked for in its train split.
        folder: is there.

    Returns:
        The table.

    Raises:
        UserError: if there are too few images, or the networks that compare them are not installed.
        DataError: if the data cannot be read.
    """
    if samples < 2:
        raise UserError(f"samples must be at least 2, not {samples}")
    config, resolution = pipeline.config, pipeline.config.data.resolution
    weights = load_lpips("vgg")
    module = family(config.model)
    how = Sampling(pipeline.sampler(sampling))
    untrained = module.init(config.model, jax.random.key(1))
    sets = {
        name: evaluation.sample_images(
            config.model, params, pipeline.frozen, how, samples, resolution, seed=options.seed
        )
        for name, params in ((MODEL, pipeline.params), (UNTRAINED, untrained))
    }
    background = pipeline.background
    held_out = evaluation.read_images(
        open_store(options.data, options.split), resolution, background=background, most_records=options.max_objects
    )
    training = evaluation.read_images(open_store(training_data, "train"), resolution, background=background)
    found = evaluation.evaluate_images(sets, held_out, training, weights, seed=options.seed)

    table = _table(found)
    settings: dict[str, Any] = {
        "samples": samples,
        "seed": options.seed,
        "steps": len(how.sampler.timesteps) if how.sampler is not None else 0,
        "held-out images": len(held_out),
        "training images": len(training),
        "resolution": resolution,
    }
    means = {name: scores._asdict() for name, scores in found.scores.items()}
    write_json(folder / "evaluation.json", {"means": means, "settings": settings})
    write_text(folder / "evaluation.md", table)
    write_image(folder / "grid.png", square_grid(sets[MODEL][:_SHOWN]))
    # The samples that are most like a training image, each above that image
    neighbours = found.neighbours[MODEL]
    closest = np.argsort(neighbours.distance)[:_NEAREST]
    rows = np.stack([sets[MODEL][closest], training[neighbours.index[closest]]])
    write_image(folder / "nearest.png", tile_images(rows))
    return table


def _table(found: evaluation.ImageEvaluation) -> str:
    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    lines = ["| | FD-VGG16 | KD-VGG16 | nearest training image (RMS) |", "|---|---:|---:|---:|"]
    for name, scores in found.scores.items():
        cells = number(scores.fd_vgg16, 1), number(scores.kd_vgg16, 3), number(scores.nearest, 3)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
