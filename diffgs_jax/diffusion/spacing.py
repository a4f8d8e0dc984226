"""Which steps of a training schedule a sampler visits."""

from typing import Literal

import numpy as np
from jaxtyping import Float64, Int

from diffgs_jax.errors import UserError

Spacing = Literal[
    "linspace",  # both ends included, rounded; the published DiffusionGS
    "leading",  # multiples of T // steps from 0: never reaches the noisiest step
    "trailing",  # T − 1 downwards in steps of T / steps (Lin et al. 2024, "Common diffusion noise schedules")
]


def spaced_steps(total: int, steps: int, spacing: Spacing, offset: int = 0) -> Int[np.ndarray, "{steps}"]:
    """Returns `steps` different indices into a schedule of `total`, rising.

    Args:
        total: length of the schedule.
        steps: how many to choose.
        spacing: by which rule.
        offset: added to every index; of "leading" only.

    Raises:
        UserError: if there are not that many, or an offset leads beyond the end.
    """
    _check(total, steps)
    if offset and (spacing != "leading" or offset < 0):
        raise UserError(f"an offset of {offset} goes with leading spacing, and is at least 0; spacing is {spacing}")
    if spacing == "leading":
        chosen = np.arange(steps) * (total // steps) + offset
        if chosen[-1] >= total:
            raise UserError(f"{steps} leading steps with an offset of {offset} leave a schedule of {total}")
        return chosen
    if spacing == "trailing":
        return np.flip(np.round(total - np.arange(steps) * (total / steps)).astype(int) - 1)
    if spacing == "linspace":
        if steps == 1:
            return np.array([total - 1])
        # Summed up, not multiplied out: where a value falls on one half the published code rounds its own running sum.
        strides = np.full(steps, (total - 1) / (steps - 1))
        strides[0] = 0.0
        return np.round(np.cumsum(strides)).astype(int)
    raise _unknown(spacing)


def spaced_times(total: int, steps: int, spacing: Spacing) -> Float64[np.ndarray, "{steps}"]:
    """Returns `steps` different times in (0, 1], rising: the same rules for a schedule that knows all times between.

    Step i of a schedule of `total` stands at time (i + 1) / total.

    Raises:
        UserError: if `steps` is not in 1 to `total`.
    """
    _check(total, steps)
    if spacing == "leading":
        return (np.arange(steps) * (total // steps) + 1.0) / total
    if spacing == "trailing":
        return np.flip(1.0 - np.arange(steps) / steps)
    if spacing == "linspace":
        return np.flip(np.linspace(1.0, 1.0 / total, steps))
    raise _unknown(spacing)


def _check(total: int, steps: int) -> None:
    if not 1 <= steps <= total:
        raise UserError(f"{steps} sampling steps asked of a schedule of {total}; give 1 to {total}")


def _unknown(spacing: str) -> UserError:
    return UserError(f"timestep spacing is {spacing!r}; give one of linspace, leading, trailing")
