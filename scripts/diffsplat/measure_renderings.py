"""How well denoisers of splats predict objects that they were not trained on: latents, and what these look like.

    python scripts/diffsplat/measure_renderings.py --checkpoints runs/tiny/diffsplat_longer runs/tiny/diffsplat_rendered

Every model predicts the clean latents of the same objects, with the same noise at the same times. Printed are the mean
squared error of what it is trained to predict, and the PSNR of renderings of the splats that are predicted.
"""

import dataclasses
import pathlib
from collections import defaultdict
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from diffgs_jax.checkpoints import load_weights, read_metadata
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import training_batches
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.models import family
from diffgs_jax.models.diffsplat import DiffSplatConfig


@dataclasses.dataclass(frozen=True)
class MeasureRenderingsConfig:
    """What is measured."""

    checkpoints: tuple[pathlib.Path, ...]
    """Of denoisers of the same data."""
    decoder: Literal["full", "tiny"] = "full"
    """Of the VAE."""
    batches: int = 16
    """Of as many objects as the runs' batches have, of the test split."""
    novel_views: int = 1
    """Further views of each object that renderings are compared with."""


def main(options: MeasureRenderingsConfig) -> None:
    """Runs the command line."""
    for checkpoint in options.checkpoints:
        means = measure(checkpoint, options)
        words = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        print(f"{checkpoint}, step {read_metadata(checkpoint)['counters']}: {words}")


def measure(checkpoint: pathlib.Path, options: MeasureRenderingsConfig) -> dict[str, float]:
    """Returns the mean error of latents, and the mean PSNR of renderings, dB."""
    stored = from_dict(read_metadata(checkpoint)["config"], str(checkpoint))
    model = stored.model
    if not isinstance(model, DiffSplatConfig):
        raise UserError(f"{checkpoint} holds no denoiser of splats")
    losses = dataclasses.replace(model.losses, render_probability=1.0, render_snr_gamma=0.0, decoder=options.decoder)
    model = dataclasses.replace(model, losses=losses)
    module = family(model)
    params = load_weights(checkpoint, jax.eval_shape(lambda: module.init(model, jax.random.key(0))))
    frozen = module.load_frozen(model, "training")
    data = dataclasses.replace(stored.data, novel_views=options.novel_views, latents="", choices=0)
    batches = training_batches(data, split="test", requirements=module.requirements(model))
    run = jax.jit(
        lambda params, frozen, batch, key: module.loss(model, params, frozen, batch, key, jnp.asarray(10**6))[1]
    )
    found = defaultdict(list)
    for number in tqdm(range(options.batches), unit="batch", disable=None):
        metrics = run(params, frozen, next(batches), jax.random.key(number))
        for name in ("latents", "render_psnr"):
            found[name].append(float(metrics[name]))
    batches.close()
    return {name: float(np.mean(values)) for name, values in found.items()}


if __name__ == "__main__":
    with report_errors():
        main(parse_options(MeasureRenderingsConfig, description=__doc__))
