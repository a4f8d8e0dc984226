"""DiffSplat from Stable Diffusion 3.5 medium: a prompt to a splat of 4 × 256² Gaussians (Lin et al. 2025).

    python -m diffgs_jax.train --config configs/diffsplat/sd35m.py --run.init-from IMPORTED_BASE

Published: 128 samples a step of 83,296 objects on 8 A100, released after 13,020 steps; then the same with a rendering
loss, going on from the first: `--model.losses.render-probability 1 --run.init-from runs/diffsplat_sd35m`.
Not run here. docs/diffsplat.md says which checkpoints it needs and how to show it a view beside the prompt.
"""

import dataclasses
import pathlib

from diffgs_jax.config import TrainConfig, load_config
from diffgs_jax.models.diffsplat import FrozenConfig, published_diffsplat, published_sampling


def get_config() -> TrainConfig:
    """Returns the settings: those of SD1.5 with another network, its schedule and its checkpoints."""
    base = load_config(pathlib.Path(__file__).with_name("sd15.py"))
    usual = published_sampling("sd35m")
    return dataclasses.replace(
        base,
        model=published_diffsplat(
            "sd35m",
            prompts="data/prompts_sd35m.npz",
            frozen=FrozenConfig("runs/gsrecon", "runs/gsvae_sd3", "runs/vae_sd3"),
        ),
        optimizer=dataclasses.replace(base.optimizer, accumulate=8),
        run=dataclasses.replace(base.run, folder="runs/diffsplat_sd35m"),
        sampling=dataclasses.replace(
            base.sampling, sampler=usual.sampler, steps=usual.steps, guidance=(usual.guidance,)
        ),
    )
