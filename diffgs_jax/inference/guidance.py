"""How strongly each view is guided: from options to what guidance is multiplied with."""

import numpy as np

from diffgs_jax.diffusion import triangle_scales
from diffgs_jax.inference.options import SamplingOptions
from diffgs_jax.models import Requirements


def guidance_scales(
    usual: tuple[float, ...], sampling: SamplingOptions, requirements: Requirements, given: int, generated: int
) -> tuple[float, ...]:
    """Returns the scales of guidance: one, or one for each view that is made.

    Args:
        usual: the model's, for options that name none.
        sampling: the options.
        requirements: of the model's family.
        given: views that are given.
        generated: views that are asked for.
    """
    scales = usual if sampling.guidance is None else sampling.guidance
    if sampling.lowest_guidance is None or not scales:
        return scales
    views = generated + given * requirements.given_are_made
    return tuple(map(float, triangle_scales(views, sampling.lowest_guidance, scales[0])))


def guidance_factors(
    scales: tuple[float, ...], requirements: Requirements, given: int, generated: int
) -> np.ndarray | None:
    """Returns what guidance is multiplied with, as it broadcasts against the state; None where nothing is guided.

    Of posed views each has its own scale, 1 for the given ones unless they are made anew.
    """
    if all(scale == 1 for scale in scales):
        return None
    if not requirements.cameras:
        return np.asarray(scales[0], np.float32)
    factors = np.ones((1, given + generated), np.float32)
    factors[:, 0 if requirements.given_are_made else given :] = np.asarray(scales, np.float32)
    return factors[..., None, None, None]
