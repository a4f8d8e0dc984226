"""Which views are generated beside those that are given."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from diffgs_jax.config import TrainConfig
from diffgs_jax.geometry import Cameras, ObjectRig, azimuths_beside
from diffgs_jax.models import family

RECONSTRUCT = 0.5
"""Share of the noise by which models that are shown no clean view are scored: our own choice."""


def rig_beside(config: TrainConfig, given: Sequence[float], views: int | None = None, *, fewest: int = 1) -> ObjectRig:
    """Returns the cameras of the views to generate.

    By default those of the model's own rig. A model that was trained with any number of given views, none included, has
    as many views in all as in training: those that are not given are generated, each in the middle of the widest gap
    between the others. Where the given view would be made anew and there is none, a camera at azimuth 0 takes its
    place.

    Args:
        config: of the model.
        given: azimuths of the views that are given, degrees.
        views: how many to generate; by default as many as in training.
        fewest: how many at least, by default; 0 where the given views are made anew.
    """
    needs, rig = family(config.model).requirements(config.model), config.rig
    if needs.cameras and needs.condition_views[0] == 0 and not needs.given_are_made:
        missing = config.data.condition_views + config.data.noisy_views - len(given)
        count = max(fewest, missing) if views is None else views
        return dataclasses.replace(rig, azimuths=azimuths_beside(given, count))
    azimuths = rig.azimuths
    if views is not None:
        azimuths = tuple(360.0 * number / (views + 1) for number in range(1, views + 1))
    if needs.given_are_made and not given and 0.0 not in azimuths:
        azimuths = (0.0, *azimuths)
    return dataclasses.replace(rig, azimuths=azimuths)


def azimuths_of(cameras: Cameras) -> list[float]:
    """Returns the azimuths of cameras `[n]`, degrees in [0, 360)."""
    positions = np.asarray(cameras.camera_to_world, np.float64)[:, :3, 3]
    return (np.degrees(np.arctan2(positions[:, 1], positions[:, 0])) % 360.0).tolist()
