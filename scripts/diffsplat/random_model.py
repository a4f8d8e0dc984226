"""Writes a DiffSplat of full size with random weights, and what it needs, to measure what it costs.

    python scripts/diffsplat/random_model.py --backbone sd15 --out runs/random_sd15
    /usr/bin/time -v python -m diffgs_jax.sample --checkpoint runs/random_sd15/model --prompt "a chair" \
        --frames 0 --out samples

The folder gets `reconstructor`, `vae`, `prompts.npz` and `model`, none of which says anything. Weights are written one
after another, so that it takes little memory.
"""

import dataclasses
import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from diffgs_jax.checkpoints import save_streamed
from diffgs_jax.config import SamplingConfig, TrainConfig, to_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import DataConfig
from diffgs_jax.errors import report_errors
from diffgs_jax.files import new_folder
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models import family, kinds
from diffgs_jax.models.diffsplat import (
    PUBLISHED_DISTANCE,
    PUBLISHED_ELEVATION,
    PUBLISHED_FOV,
    Backbone,
    FrozenConfig,
    MMDiTConfig,
    PixArtConfig,
    published_diffsplat,
    published_sampling,
)
from diffgs_jax.models.diffsplat.config import network_settings, pooled_width

PROMPT = "a chair"
"""The only prompt there is."""


@dataclasses.dataclass(frozen=True)
class RandomModelConfig:
    """Which model, and where to."""

    out: pathlib.Path
    """Folder to create."""
    backbone: Backbone = "sd15"
    """The base model."""
    seed: int = 0
    """Of the weights."""


def main(options: RandomModelConfig) -> None:
    """Runs the command line."""
    with new_folder(options.out, overwrite=False) as folder:
        place = options.out.absolute()  # the folder is renamed when it is whole
        named = {name: str(place / name) for name in ("reconstructor", "vae")}
        config = published_diffsplat(options.backbone, prompts=str(place / "prompts.npz"), frozen=FrozenConfig(**named))
        transformers = isinstance(network_settings(config), MMDiTConfig)
        latents = config.latents.channels
        write(folder / "reconstructor", kinds()["gsrecon"](), options.seed)
        vae = kinds()["gsvae"]()
        network = dataclasses.replace(vae.network, latents=latents, projections=not transformers)
        write(folder / "vae", dataclasses.replace(vae, network=network), options.seed)
        write_prompts(folder / "prompts.npz", config, options.seed)
        write(folder / "model", config, options.seed)
    print(f"{options.out}: random weights of {options.backbone}; its prompt is {PROMPT!r}")


def write(folder: pathlib.Path, model: Any, seed: int) -> None:
    """Writes a checkpoint of a model, its weights drawn from a normal distribution."""
    shapes = jax.eval_shape(functools.partial(family(model).init, model), jax.random.key(0))
    random = np.random.default_rng(seed)
    with tqdm(total=len(jax.tree.leaves(shapes)), desc=folder.name, unit="array") as bar:

        def read(path: tuple[str, ...]) -> np.ndarray:
            bar.update()
            return drawn(path, functools.reduce(lambda tree, name: tree[name], path, shapes).shape, random)

        save_streamed(folder, 0, shapes, read, {"config": to_dict(settings_of(model)), "counters": {"samples": 0}})


def drawn(path: tuple[str, ...], shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Returns random weights: kernels that keep a signal's variance, unit scales, no biases."""
    if path[-1] in ("kernel", "embedding", "table"):
        fan = math.prod(shape[-4:-1]) if len(shape) >= 4 else shape[-2]
        return (random.standard_normal(shape, np.float32) / np.float32(math.sqrt(fan))).astype(np.float32)
    return (np.ones if path[-1] == "scale" else np.zeros)(shape, np.float32)


def settings_of(model: Any) -> TrainConfig:
    """Returns the settings of a checkpoint of a published model: views of 256 pixels, its own sampler."""
    data = DataConfig(resolution=256, condition_views=0, noisy_views=4, novel_views=0)
    rig = ObjectRig(PUBLISHED_ELEVATION, PUBLISHED_DISTANCE, PUBLISHED_FOV, (0.0, 90.0, 180.0, 270.0))
    sampling = SamplingConfig(filter=0.0)
    if hasattr(model, "backbone"):
        usual = published_sampling(model.backbone)
        sampling = SamplingConfig(sampler=usual.sampler, steps=usual.steps, guidance=(usual.guidance,), filter=0.0)
    return TrainConfig(model=model, data=data, rig=rig, sampling=sampling)


def write_prompts(file: pathlib.Path, config: Any, seed: int) -> None:
    """Writes random features of the prompt and of none, as long as the published encoders'."""
    random, settings = np.random.default_rng(seed), network_settings(config)
    tokens = 300 if isinstance(settings, PixArtConfig) else 333 if isinstance(settings, MMDiTConfig) else 77
    arrays: dict[str, Any] = {"tokens": random.standard_normal((2, tokens, settings.text_width), np.float32)}
    if isinstance(settings, PixArtConfig):
        arrays["mask"] = np.ones((2, tokens), bool)
    if pooled := pooled_width(config):
        arrays["pooled"] = random.standard_normal((2, pooled), np.float32)
    np.savez(file, prompts=np.array([PROMPT, ""]), **arrays)


if __name__ == "__main__":
    with report_errors():
        main(parse_options(RandomModelConfig, description=__doc__))
