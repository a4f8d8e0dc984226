"""Like single_view_64.py, but with one random view of an object at each step: more than one view of it is seen in time.

    R="--data.view-choice.kind random_view --run.folder runs/random_views_ddpm_64"
    python -m diffgs_jax.train --config configs/ddpm/single_views_64.py $R
    python -m diffgs_jax.train --config configs/diffusion_gs/random_view_64.py

No step sees two views of an object, and so nothing tells the model that they are of one; but all of its sides come up.
It is no training from single views, and its scores belong in a row of their own.

10,000 steps of 16 samples on two CPU cores: not yet measured. Score: not yet measured.
"""

import dataclasses
import pathlib

from diffgs_jax.config import TrainConfig, load_config
from diffgs_jax.data import ViewChoice
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig


def get_config() -> TrainConfig:
    """Returns the settings of single_view_64.py, but for the views."""
    config = load_config(pathlib.Path(__file__).with_name("single_view_64.py"))
    model = config.model
    assert isinstance(model, DiffusionGSConfig)
    prior = dataclasses.replace(model.losses.prior, checkpoint="runs/random_views_ddpm_64")
    return dataclasses.replace(
        config,
        model=dataclasses.replace(model, losses=dataclasses.replace(model.losses, prior=prior)),
        data=dataclasses.replace(config.data, view_choice=ViewChoice(kind="random_view")),
        run=dataclasses.replace(config.run, folder="runs/random_view_64"),
    )
