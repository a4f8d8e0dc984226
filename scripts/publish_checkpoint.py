"""Turns a training run into a checkpoint to share: the averaged weights alone, in bfloat16.

    python scripts/publish_checkpoint.py --run runs/quickstart --out my_model

The result can be sampled from, evaluated, and trained on from with `--run.init_from my_model`, but not resumed.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp

from diffgs_jax import models
from diffgs_jax.checkpoints import latest_step, load_weights, read_metadata, save_weights
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from diffgs_jax.files import new_folder


@dataclasses.dataclass(frozen=True)
class PublishConfig:
    """What to publish and where."""

    run: pathlib.Path
    """Run folder of `python -m diffgs_jax.train`."""
    out: pathlib.Path
    """Folder to create."""
    overwrite: bool = False
    """Replace `out` if it exists."""


def main(config: PublishConfig) -> None:
    """Runs the command line."""
    with new_folder(config.out, overwrite=config.overwrite, hint="add --overwrite to replace it") as folder:
        metadata = read_metadata(config.run)
        settings = from_dict(metadata["config"], str(config.run))
        shapes = jax.eval_shape(lambda: models.family(settings.model).init(settings.model, jax.random.key(0)))
        weights = load_weights(config.run, shapes)
        weights = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), weights)
        step = latest_step(config.run / "checkpoints")
        # The data position means nothing without the optimizer; the counters are what a model card states.
        published = {"config": metadata["config"], "counters": metadata["counters"]}
        save_weights(folder, step or 0, weights, published)
    size = sum(file.stat().st_size for file in config.out.rglob("*") if file.is_file())
    print(f"{config.out}: step {step}, {size / 1e6:.1f} MB, {metadata['counters']}")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(PublishConfig, description=__doc__))
