"""DiffSplat from Stable Diffusion 2.1: a prompt to a splat of 4 × 256² Gaussians (Lin et al. 2025).

It was never published: its settings are those of SD1.5.

    python -m diffgs_jax.train --config configs/diffsplat/sd21.py --run.init-from IMPORTED_BASE

Published: 128 samples a step of 83,296 objects on 8 A100, released after 13,020 steps; then the same with a rendering
loss, going on from the first: `--model.losses.render-probability 1 --run.init-from runs/diffsplat_sd21`.
Not run here. docs/diffsplat.md says which checkpoints it needs and how to show it a view beside the prompt.
"""

import dataclasses
import pathlib

from diffgs_jax.config import TrainConfig, load_config
from diffgs_jax.models.diffsplat import FrozenConfig, published_diffsplat, published_sampling


def get_config() -> TrainConfig:
    """Returns the settings: those of SD1.5 with another network, its schedule and its checkpoints."""
    base = load_config(pathlib.Path(__file__).with_name("sd15.py"))
    usual = published_sampling("sd21")
    return dataclasses.replace(
        base,
        model=published_diffsplat(
            "sd21",
            prompts="data/prompts_sd21.npz",
            frozen=FrozenConfig("runs/gsrecon", "runs/gsvae_sd", "runs/vae_sd"),
        ),
        run=dataclasses.replace(base.run, folder="runs/diffsplat_sd21"),
        sampling=dataclasses.replace(
            base.sampling, sampler=usual.sampler, steps=usual.steps, guidance=(usual.guidance,)
        ),
    )
