"""Computes the latents that a diffsplat model learns, once, so that training need not do so at every step.

    python scripts/diffsplat/precompute_latents.py --config configs/diffsplat/furniture_small.py --choices 8 \
        --out data/furniture_latents
    python -m diffgs_jax.train --config configs/diffsplat/furniture_small.py --data.choices 8 \
        --data.latents data/furniture_latents

Views of each record are chosen in `--choices` ways, as training with as many `data.choices` draws them. Further words
are settings of the config. Interrupted, the same command goes on where it stopped. A record that cannot be used is
named and left out, as in training.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from diffgs_jax.config import TrainConfig, load_config
from diffgs_jax.data import TrainingBatches, training_batches
from diffgs_jax.data.latents import ABOUT, VALUES, create_latents, describe_latents
from diffgs_jax.data.pipeline import collate
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import arrays_sha256, json_object, load_json, make_folder, write_json
from diffgs_jax.models import Diffuses, family
from diffgs_jax.models.stored import stored_models

_DONE, _EVERY = "unfinished.json", 64


def main(words: list[str]) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=pathlib.Path, required=True, help="of the diffsplat model")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to fill")
    parser.add_argument("--choices", type=int, default=4, help="ways of choosing the views of a record")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the stored numbers")
    options, changes = parser.parse_known_args(words)
    if options.choices < 1:
        raise UserError(f"--choices is at least 1, not {options.choices}")
    config = load_config(options.config, changes)
    data = dataclasses.replace(config.data, choices=options.choices, latents="")
    precompute(dataclasses.replace(config, data=data), options.out, options.dtype)


def precompute(config: TrainConfig, out: pathlib.Path, dtype: str) -> None:
    """Fills a folder with the latents of every choice of views of every training record.

    Args:
        config: of the model and its data; `data.choices` says how many choices there are.
        out: the folder.
        dtype: of the stored numbers.

    Raises:
        UserError: if the model has no latents, or the folder is of others.
        DataError: if the data cannot be read.
    """
    module = family(config.model)
    needs = module.requirements(config.model)
    if not needs.latents or not isinstance(module, Diffuses):
        raise UserError("this config's model learns no latents")
    batches = training_batches(config.data, requirements=needs)
    batches.close()
    frozen = module.load_frozen(config.model, "training")
    made_by = {
        name: arrays_sha256(model.params)
        for name, model in stored_models(frozen).items()
        if name in ("reconstructor", "vae")
    }
    about = describe_latents(config.data, batches.sources, made_by)
    encode = jax.jit(lambda frozen, batch: module.clean_state(config.model, {}, frozen, batch))
    make_folder(out)
    done, values = _begin(out, about, dtype, lambda: encode(frozen, _batch(batches, needs, 0)[1]).shape[1:], batches)
    if done is None:
        print(f"{out} is complete")
        return
    parts, size = -(-_count(batches) // config.data.batch_size), config.data.batch_size
    for part in tqdm(range(done, parts), desc="latents", unit="batch", initial=done, total=parts, disable=None):
        places, batch = _batch(batches, needs, part * size)
        if places:
            found = np.asarray(encode(frozen, batch))
            for place, latents in zip(places, found, strict=False):
                values[place] = latents
        if (part + 1) % _EVERY == 0 or part + 1 == parts:
            values.flush()
            write_json(out / _DONE, {"done": part + 1, "about": about})
    write_json(out / ABOUT, about)
    (out / _DONE).unlink()
    shape = " × ".join(map(str, values.shape[2:]))
    print(f"{out}: latents {shape} of {values.shape[1]} choices of {len(values)} records")


def _begin(out: pathlib.Path, about: dict[str, Any], dtype: str, shape_of: Any, batches: TrainingBatches) -> Any:
    """Returns how many batches are done and the array on disk; None and None where all are."""
    for name in (ABOUT, _DONE):
        if (out / name).is_file():
            stored = json_object(load_json(out / name), str(out / name))
            if (stored if name == ABOUT else stored.get("about")) != json.loads(json.dumps(about)):
                raise UserError(f"{out} holds latents of other data or by other weights: name another folder")
            return (None, None) if name == ABOUT else (stored["done"], np.load(out / VALUES, mmap_mode="r+"))
    choices = batches.config.choices
    return 0, create_latents(out, _count(batches) // choices, choices, tuple(shape_of()), dtype)


def _count(batches: TrainingBatches) -> int:
    return sum(map(len, batches.sources.stores)) * batches.config.choices


def _batch(batches: TrainingBatches, needs: Any, first: int) -> tuple[list[tuple[int, int]], Any]:
    """Returns the places of a batch's samples, of which some may be left out, and the batch, filled up to its size."""
    config, sources = batches.config, batches.sources
    places, samples = [], []
    for number in range(first, min(first + config.batch_size, _count(batches))):
        record, choice = divmod(number, config.choices)
        source = int(np.searchsorted(sources.first, record, "right")) - 1
        try:
            samples.append(batches.samples.of_choice(source, record - sources.first[source], choice))
            places.append((record, choice))
        except DataError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not samples:
        if not first:
            raise DataError("no record of the first batch can be used")
        return [], None
    filled = [*samples, *[samples[-1]] * (config.batch_size - len(samples))]
    return places, collate(filled, config, needs)


if __name__ == "__main__":
    with report_errors():
        main(sys.argv[1:])
