"""A fit: descent towards posed images."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from diffgs_jax.optimization.config import FitConfig
from diffgs_jax.optimization.descent import RUN, Fitting, Run, descend, means_rates, turns
from diffgs_jax.optimization.initialization import outside_silhouettes
from diffgs_jax.optimization.posed_images import PosedImages, scene_extent
from diffgs_jax.optimization.state import FitState
from diffgs_jax.optimization.steps import Plan, knobs_of, run_steps


def fit(images: PosedImages, state: FitState, config: FitConfig, *, pause_every: int = RUN) -> Iterator[Fitting]:
    """Goes from a state to `config.steps`, and yields where it stands after every run of steps.

    What comes out depends on the images, the first state and the settings alone, not on where it was interrupted.

    Args:
        images: to be fitted.
        state: before; of `initial_state`, or one that an earlier call yielded.
        config: how.
        pause_every: yields at least at every multiple of this step.

    Raises:
        DataError: if the loss is not finite.
    """
    extent = scene_extent(images.cameras)
    on_device = jax.tree.map(jnp.asarray, images)
    knobs = knobs_of(config)

    def take(state: FitState, run: Run) -> tuple[FitState, Array]:
        order = turns(run.start, config.images_per_step, len(images.pixels), config.seed)
        plan = Plan(order, means_rates(run.start, config, extent))
        return run_steps(state, on_device, plan, run.stop - run.start, run.degree, run.key, knobs)

    def is_outside(state: FitState) -> Bool[Array, "n"]:
        """Returns which Gaussians have drifted to where few images see them, and those that do see no object there."""
        return jnp.asarray(outside_silhouettes(np.asarray(state.parameters.means), images))

    return descend(state, config, take, is_outside, extent, pause_every=pause_every)
