"""What a run is asked on the way: pictures of test objects, and their scores."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float

from diffgs_jax import evaluation
from diffgs_jax.config import RunConfig
from diffgs_jax.data import CameraAugmentation, DataConfig, open_store, training_batches
from diffgs_jax.diffusion import Denoise, ScheduleConfig, make_sampler, make_schedule
from diffgs_jax.geometry import Cameras, Views
from diffgs_jax.training.grids import make_grid_sampler, tile_images
from diffgs_jax.training.sharding import gather
from diffgs_jax.training.state import Params

Denoiser = Callable[[Params, Views], Denoise]
"""`(params, views) -> Denoise` of a model family, its config bound."""


def make_grid(
    denoiser: Denoiser, schedule: ScheduleConfig, background: float, data: DataConfig, run: RunConfig
) -> Callable[[Params], Float[np.ndarray, "height width 3"]]:
    """Returns the function from weights to a picture of samples: always the same test objects and noise.

    Args:
        denoiser: the model.
        schedule: its noise schedule.
        background: grey level of the renderings.
        data: where the test split is.
        run: says how many objects and steps.

    Raises:
        UserError: if there is no test split; now, not when the first grid is due.
        DataError: if it cannot be read.
    """
    sampler = make_grid_sampler(denoiser, schedule, run.grid_sampler_steps, background)
    plain = CameraAugmentation()
    data = dataclasses.replace(data, batch_size=run.grid_objects, augmentation=plain, random_background=0.0)
    batches = training_batches(data, split="test")
    batch = next(batches)
    batches.close()

    def draw(weights: Params) -> np.ndarray:
        return tile_images(np.asarray(sampler(gather(weights), batch, jax.random.key(0))))

    return draw


def make_scorer(
    denoiser: Denoiser, schedule: ScheduleConfig, background: float, rig: Cameras, data: DataConfig, run: RunConfig
) -> Callable[[Params], dict[str, float]]:
    """Returns the function from weights to mean scores of test objects: one view in, all the others out.

    Args:
        denoiser: the model.
        schedule: its noise schedule.
        background: grey level of the renderings.
        rig: `[v]`, cameras of the views to denoise.
        data: where the test split is; of several sources, the first.
        run: says how many objects and steps.

    Raises:
        UserError: if there is no test split.
        DataError: if it cannot be read.
    """
    store = open_store(data.sources[0][0] if data.sources else data.path, "test")
    chosen = range(min(run.evaluate_objects, len(store)))
    objects = evaluation.load_objects(store, data.resolution, chosen, background=background)
    protocol = evaluation.ProtocolConfig(background=background)
    sampler = make_sampler(make_schedule(schedule), "ddim", run.grid_sampler_steps)
    predictor = evaluation.make_predictor(denoiser, sampler, rig, data.resolution, protocol)

    def score(weights: Params) -> dict[str, float]:
        found = evaluation.evaluate_model(predictor, gather(weights), objects, protocol)
        return {f"test/{name}": value for name, value in evaluation.mean_scores(found.scores).items()}

    return score
