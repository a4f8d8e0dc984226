"""Samples of a model that makes images without a pose: one file each, and a grid of all."""

import json
import pathlib
from collections.abc import Callable

import numpy as np

from diffgs_jax.commands.sample_options import SampleOptions
from diffgs_jax.commands.sample_record import make_record
from diffgs_jax.files import filled_folder
from diffgs_jax.inference.pipeline import Pipeline
from diffgs_jax.interop import square_grid, write_image

_TOGETHER = 16


def write_image_grid(
    pipeline: Pipeline, options: SampleOptions, on_batch: Callable[[int], object] = lambda images: None
) -> list[pathlib.Path]:
    """Fills the folder with `seed_….png` for every sample, `grid.png` and `sample.json`.

    An image depends on its seed alone, not on how many are made together.

    Args:
        pipeline: the model.
        options: of the command line.
        on_batch: called with the number of images done since the last call.

    Returns:
        The files.

    Raises:
        UserError: if an option is out of range or a file cannot be written.
    """
    seeds = list(range(options.seed, options.seed + options.samples))
    together = min(_TOGETHER, len(seeds))
    made = []
    for start in range(0, len(seeds), together):
        batch = seeds[start : start + together]
        filled = [*batch, *[batch[-1]] * (together - len(batch))]  # one shape, one compiled program
        request = pipeline.request(None, options.inputs, options.sampling, count=together)
        *_, last = pipeline.generate(request, filled, options.sampling)
        assert last.generated is not None and last.generated.images is not None
        made.append(np.asarray(last.generated.images)[: len(batch)])
        on_batch(len(batch))
    images = np.concatenate(made)
    with filled_folder(options.out) as folder:
        for seed, image in zip(seeds, images, strict=True):
            write_image(folder / f"seed_{seed}.png", image)
        if len(images) > 1:
            write_image(folder / "grid.png", square_grid(images))
        record = make_record(options, pipeline, folder)
        (folder / "sample.json").write_text(json.dumps(record, indent=2) + "\n")
        names = sorted(path.name for path in folder.iterdir())
    return [options.out / name for name in names]
