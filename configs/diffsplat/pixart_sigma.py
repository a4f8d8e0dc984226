"""DiffSplat from PixArt-Σ: a prompt to a splat of 4 × 256² Gaussians (Lin et al. 2025).

    python -m diffgs_jax.train --config configs/diffsplat/pixart_sigma.py --run.init-from IMPORTED_BASE

Published: 128 samples a step of 83,296 objects on 8 A100, released after 13,020 steps; then the same with a rendering
loss, going on from the first: `--model.losses.render-probability 1 --run.init-from runs/diffsplat_pixart_sigma`.
Not run here. docs/diffsplat.md says which checkpoints it needs and how to show it a view beside the prompt.
"""

import dataclasses
import pathlib

from diffgs_jax.config import TrainConfig, load_config
from diffgs_jax.models.diffsplat import FrozenConfig, published_diffsplat, published_sampling


def get_config() -> TrainConfig:
    """Returns the settings: those of SD1.5 with another network, its schedule and its checkpoints."""
    base = load_config(pathlib.Path(__file__).with_name("sd15.py"))
    usual = published_sampling("pixart_sigma")
    return dataclasses.replace(
        base,
        model=published_diffsplat(
            "pixart_sigma",
            prompts="data/prompts_pixart_sigma.npz",
            frozen=FrozenConfig("runs/gsrecon", "runs/gsvae_sdxl", "runs/vae_sdxl"),
        ),
        run=dataclasses.replace(base.run, folder="runs/diffsplat_pixart_sigma"),
        sampling=dataclasses.replace(
            base.sampling, sampler=usual.sampler, steps=usual.steps, guidance=(usual.guidance,)
        ),
    )
