"""Makes a trained DiffusionGS model finer, to train on from: every Gaussian of a pixel becomes four of half its size.

    python scripts/diffusion_gs/split_gaussians.py --run runs/furniture_64 --out runs/furniture_64_split
    python -m diffgs_jax.train --config configs/diffusion_gs/furniture_64.py --run.init-from runs/furniture_64_split \
        --run.folder runs/finer --model.network.stride 1 --model.gaussians.scale-offset … \
        --model.gaussians.scale-limit …

A stride of 2 trains faster, and its renderings cannot be sharper than half their resolution. The settings that the
second command needs are printed by the first.
"""

import dataclasses
import pathlib

import jax

from diffgs_jax import models
from diffgs_jax.checkpoints import load_weights, read_metadata, save_weights
from diffgs_jax.config import from_dict, to_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import new_folder
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig
from diffgs_jax.models.diffusion_gs.splitting import split_gaussians


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """What to split, and where to put the result."""

    run: pathlib.Path
    """Run folder or checkpoint; of the newest checkpoint, the averaged weights."""
    out: pathlib.Path
    """Folder to create."""


def main(config: SplitConfig) -> None:
    """Runs the command line."""
    with new_folder(config.out) as folder:
        metadata = read_metadata(config.run)
        settings = from_dict(metadata["config"], str(config.run))
        if not isinstance(settings.model, DiffusionGSConfig):
            raise UserError(f"{config.run} is no DiffusionGS model")
        shapes = jax.eval_shape(lambda: models.family(settings.model).init(settings.model, jax.random.key(0)))
        model, weights = split_gaussians(settings.model, load_weights(config.run, shapes))
        described = {
            "config": to_dict(dataclasses.replace(settings, model=model)),
            "counters": metadata["counters"],
        }
        save_weights(folder, 0, weights, described)
    print(
        f"{config.out}: --model.network.stride {model.network.stride} "
        f"--model.gaussians.scale-offset {model.gaussians.scale_offset:.4f} "
        f"--model.gaussians.scale-limit {model.gaussians.scale_limit:.4f}"
    )


if __name__ == "__main__":
    with report_errors():
        main(parse_options(SplitConfig, description=__doc__))
