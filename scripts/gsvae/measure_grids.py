"""What a splat grid loses on its way through an autoencoder, on objects that it was not trained on.

    python scripts/gsvae/measure_grids.py --checkpoint runs/gsvae_furniture --data data/furniture_rings_128

Prints the PSNR of renderings of the reconstructor's own grids and of the same grids encoded and decoded, by the decoder
and by the tiny one, at the views of the run's settings; and the squared error of the grids themselves.
"""

import dataclasses
import functools
import pathlib
from collections import defaultdict

import jax
import numpy as np
from tqdm import tqdm

from diffgs_jax.checkpoints import load_weights, read_metadata
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import training_batches
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.models import family
from diffgs_jax.models.gsvae import GSVAEConfig


@dataclasses.dataclass(frozen=True)
class MeasureGridsConfig:
    """What is measured, and on what."""

    checkpoint: pathlib.Path
    """Of the autoencoder."""
    data: pathlib.Path
    """A record store; its test split is read."""
    reconstructor: pathlib.Path | None = None
    """Where the model of grids is now; by default what the autoencoder's settings say."""
    batches: int = 24
    """Of as many objects as the run's batches have."""


def main(config: MeasureGridsConfig) -> None:
    """Runs the command line."""
    stored = from_dict(read_metadata(config.checkpoint)["config"], str(config.checkpoint))
    model = stored.model
    if not isinstance(model, GSVAEConfig) or not (model.reconstructor or config.reconstructor):
        raise UserError(f"{config.checkpoint} holds no autoencoder of splat grids")
    if config.reconstructor is not None:
        model = dataclasses.replace(model, reconstructor=str(config.reconstructor))
    module = family(model)
    shapes = jax.eval_shape(functools.partial(module.init, model), jax.random.key(0))
    params, frozen = load_weights(config.checkpoint, shapes), module.load_frozen(model, "training")
    maker = frozen["reconstructor"]
    grids_of = family(maker.config)

    @jax.jit
    def scores(params, frozen, batch):
        maker = frozen["reconstructor"]
        grids = grids_of.grids(maker.config, maker.params, maker.frozen, batch.inputs)
        flat = grids.reshape(-1, *grids.shape[2:])
        latents = module.encode(model, params, flat)
        made = {"own": grids, "decoded": module.decode_latents(model, params, latents).reshape(grids.shape)}
        if model.tiny.width:
            made["decoded quickly"] = module.decode_quickly(model, params, latents).reshape(grids.shape)
        found = {}
        for name, one in made.items():
            metrics = grids_of.grid_loss(
                maker.config, maker.frozen, one, batch, jax.random.key(0), np.asarray(10**6, np.int32)
            )[1]
            found[name] = metrics["psnr"], jax.numpy.mean((one - grids) ** 2)
        return found

    data = dataclasses.replace(stored.data, path=str(config.data), sources=(), batch_size=stored.data.batch_size)
    batches = training_batches(data, split="test", requirements=module.requirements(model))
    rows = defaultdict(list)
    for _ in tqdm(range(config.batches), unit="batch"):
        for name, values in scores(params, frozen, next(batches)).items():
            rows[name].append([float(value) for value in values])
    batches.close()
    for name, values in rows.items():
        psnr, squared = np.mean(values, axis=0)
        print(f"{name:>15}: {psnr:.2f} dB, mean squared error of the grids {squared:.5f}")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(MeasureGridsConfig, description=__doc__))
