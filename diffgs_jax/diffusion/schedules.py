"""Noise schedules: how much signal and how much noise each timestep holds.

A schedule is host data (float64 numpy), computed from a few settings and never differentiated. Everything derived from
it, the coefficients of a sampler included, is computed in float64 and cast once, where it meets an array: ᾱ is so close
to 1 at small t that σ² = 1 − ᾱ loses three digits when ᾱ is kept in float32.

Throughout the room x_t = α_t x_0 + σ_t ε with α_t = sqrt(ᾱ_t), σ_t = sqrt(1 − ᾱ_t), and t = 0 is the *least* noisy
step, not the clean one.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from diffgs_jax.errors import UserError

ScheduleName = Literal[
    "squaredcos_cap_v2",  # cosine, β ≤ 0.999 (Nichol & Dhariwal 2021, eq. 17); the published DiffusionGS
    "linear",  # β linear (DDPM, Ho et al. 2020)
    "scaled_linear",  # sqrt(β) linear (latent diffusion, Rombach et al. 2022)
]
Spacing = Literal[
    "linspace",  # both ends included, rounded; the published DiffusionGS
    "leading",  # multiples of T // steps from 0: never reaches the noisiest step
    "trailing",  # T − 1 downwards in steps of T / steps (Lin et al. 2024, "Common diffusion noise schedules")
]

# β at the first and the last of 1000 steps, as published with each schedule.
_BETA_RANGES = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Settings of a noise schedule.

    Attributes:
        name: the law of β.
        steps: number of training timesteps T.
        beta_start: β of the first step, None for the value published with the schedule. Unused by the cosine.
        beta_end: β of the last step, None for the value published with the schedule. Unused by the cosine.
    """

    name: ScheduleName = "squaredcos_cap_v2"
    steps: int = 1000
    beta_start: float | None = None
    beta_end: float | None = None


class Schedule(NamedTuple):
    """A variance-preserving noise schedule, full or respaced.

    Attributes:
        betas: `[steps]` in (0, 1).
        alphas_cumprod: `[steps]` ᾱ = Π (1 − β), falling with t.
        timestep_map: `[steps]` the timestep of the *training* schedule that each step stands for, which is what a
            denoiser is told; 0, 1, 2, … for a full schedule.
    """

    betas: Float64[np.ndarray, "steps"]
    alphas_cumprod: Float64[np.ndarray, "steps"]
    timestep_map: Int32[np.ndarray, "steps"]

    @property
    def steps(self) -> int:
        """Returns the number of timesteps."""
        return len(self.betas)

    @property
    def alpha(self) -> Float64[np.ndarray, "steps"]:
        """Returns the signal's factor α_t = sqrt(ᾱ_t)."""
        return np.sqrt(self.alphas_cumprod)

    @property
    def sigma(self) -> Float64[np.ndarray, "steps"]:
        """Returns the noise's standard deviation σ_t = sqrt(1 − ᾱ_t)."""
        return np.sqrt(1.0 - self.alphas_cumprod)

    @property
    def log_snr(self) -> Float64[np.ndarray, "steps"]:
        """Returns log(α_t² / σ_t²), falling with t; DPM-Solver's λ is half of it."""
        return np.log(self.alphas_cumprod) - np.log1p(-self.alphas_cumprod)


class Posterior(NamedTuple):
    """The Gaussian q(x_{t−1} | x_t, x_0) for every t (DDPM, Ho et al. 2020, eq. 6 and 7).

    Its mean is `mean_x0[t] · x_0 + mean_x_t[t] · x_t`.

    Attributes:
        mean_x0: `[steps]`.
        mean_x_t: `[steps]`.
        variance: `[steps]` β̃; 0 at t = 0.
        log_variance: `[steps]` log β̃, with the value at t = 0 (which is −∞) replaced by that at t = 1.
    """

    mean_x0: Float64[np.ndarray, "steps"]
    mean_x_t: Float64[np.ndarray, "steps"]
    variance: Float64[np.ndarray, "steps"]
    log_variance: Float64[np.ndarray, "steps"]


def make_schedule(config: ScheduleConfig = ScheduleConfig()) -> Schedule:  # noqa: B008 (frozen)
    """Computes a schedule from its settings.

    Raises:
        UserError: if a setting is out of range.
    """
    if config.steps < 1:
        raise UserError(f"schedule.steps is {config.steps}; give at least 1")
    if config.name == "squaredcos_cap_v2":
        times = np.linspace(0.0, 1.0, config.steps + 1)
        remaining = np.cos((times + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1.0 - remaining[1:] / remaining[:-1], 0.999)
    elif config.name in _BETA_RANGES:
        start, end = _BETA_RANGES[config.name]
        start = start if config.beta_start is None else config.beta_start
        end = end if config.beta_end is None else config.beta_end
        if not 0.0 < start <= end < 1.0:
            raise UserError(f"schedule betas go from {start} to {end}; give 0 < beta_start <= beta_end < 1")
        power = 2 if config.name == "scaled_linear" else 1
        betas = np.linspace(start ** (1 / power), end ** (1 / power), config.steps) ** power
    else:
        raise UserError(f"schedule.name is {config.name!r}; give one of squaredcos_cap_v2, linear, scaled_linear")
    return Schedule(betas, np.cumprod(1.0 - betas), np.arange(config.steps, dtype=np.int32))


def respace(schedule: Schedule, steps: int, spacing: Spacing = "linspace") -> Schedule:
    """Returns the shorter schedule that visits `steps` of the timesteps, with β such that ᾱ is unchanged there.

    Source: Nichol & Dhariwal 2021, eq. 19. A single step by "linspace" or "trailing" is the noisiest one.

    Raises:
        UserError: if there are not that many timesteps.
    """
    if not 1 <= steps <= schedule.steps:
        raise UserError(f"{steps} sampling steps asked of a schedule of {schedule.steps}; give 1 to {schedule.steps}")
    chosen = _spaced_indices(schedule.steps, steps, spacing)
    alphas_cumprod = schedule.alphas_cumprod[chosen]
    betas = 1.0 - alphas_cumprod / np.concatenate([[1.0], alphas_cumprod[:-1]])
    return Schedule(betas, alphas_cumprod, schedule.timestep_map[chosen])


def _spaced_indices(total: int, steps: int, spacing: Spacing) -> np.ndarray:
    """Returns `steps` different indices into a schedule of `total`, rising."""
    if spacing == "leading":
        return np.arange(steps) * (total // steps)
    if spacing == "trailing":
        return np.flip(np.round(total - np.arange(steps) * (total / steps)).astype(int) - 1)
    if spacing == "linspace":
        if steps == 1:
            return np.array([total - 1])
        # Summed up, not multiplied out: where a value falls on one half the published code rounds its own running sum.
        strides = np.full(steps, (total - 1) / (steps - 1))
        strides[0] = 0.0
        return np.round(np.cumsum(strides)).astype(int)
    raise UserError(f"timestep spacing is {spacing!r}; give one of linspace, leading, trailing")


def posterior(schedule: Schedule) -> Posterior:
    """Computes the coefficients of q(x_{t−1} | x_t, x_0) for every step of a (respaced) schedule."""
    betas, alphas_cumprod = schedule.betas, schedule.alphas_cumprod
    previous = np.concatenate([[1.0], alphas_cumprod[:-1]])
    variance = betas * (1.0 - previous) / (1.0 - alphas_cumprod)
    # A one-step schedule has no second value to stand in for log 0; its only step is never noised.
    floor = variance[1] if len(variance) > 1 else betas[0]
    return Posterior(
        mean_x0=betas * np.sqrt(previous) / (1.0 - alphas_cumprod),
        mean_x_t=np.sqrt(1.0 - betas) * (1.0 - previous) / (1.0 - alphas_cumprod),
        variance=variance,
        log_variance=np.log(np.concatenate([[floor], variance[1:]])),
    )
