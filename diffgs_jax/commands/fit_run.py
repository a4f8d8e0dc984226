"""A fit, from where it begins to where it ends."""

import dataclasses

from diffgs_jax import optimization
from diffgs_jax.commands.fit_inputs import FitInputs
from diffgs_jax.commands.fit_options import FitOptions
from diffgs_jax.commands.fit_outputs import draw_views
from diffgs_jax.commands.optimization_run import OptimizedSplat, run_resumably
from diffgs_jax.interop import read_gaussians


def fit_resumably(options: FitOptions, inputs: FitInputs) -> OptimizedSplat:
    """Fits from the start, or from where the same fit was saved last.

    Raises:
        UserError: if the folder cannot be written, or the splat to start from has more Gaussians than the capacity.
        DataError: if the splat to start from, what was saved or the loss is not finite or damaged.
        SystemExit: with code 75, after saving, if the process was asked to stop.
    """
    config = options.config
    settings = {"config": dataclasses.asdict(config), "images": inputs.sha256, "held_out": inputs.held_out_views}
    return run_resumably(
        options,
        config,
        _first_state(options, inputs),
        settings,
        lambda state, every: optimization.fit(inputs.fitted, state, config, pause_every=every),
        lambda gaussians: draw_views(gaussians, inputs, most=4),
        "fitting",
    )


def _first_state(options: FitOptions, inputs: FitInputs) -> optimization.FitState:
    if options.start_splat is None:
        gaussians, name = optimization.initial_gaussians(inputs.fitted, options.config), "the start"
    else:
        gaussians, name = read_gaussians(options.start_splat), str(options.start_splat)
    slots = optimization.from_gaussians(gaussians, options.capacity, options.sh_degree, name)
    return optimization.initial_state(*slots)
