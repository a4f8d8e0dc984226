"""Noise schedules: how much signal and how much noise each timestep holds.

A schedule is host data (float64 numpy), computed from a few settings and never differentiated. Everything derived from
it, the coefficients of a sampler included, is computed in float64 and cast once, where it meets an array: ᾱ is so close
to 1 at small t that σ² = 1 − ᾱ loses three digits when ᾱ is kept in float32.

Throughout the package x_t = α_t x_0 + σ_t ε. Variance-preserving schedules have α_t = sqrt(ᾱ_t), σ_t = sqrt(1 − ᾱ_t),
flow matching has α_t = 1 − s_t, σ_t = s_t. Step 0 is the *least* noisy one, not the clean array.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32

from diffgs_jax.diffusion.spacing import Spacing, spaced_steps
from diffgs_jax.errors import UserError

ScheduleName = Literal[
    "squaredcos_cap_v2",  # cosine, β ≤ 0.999 (Nichol & Dhariwal 2021, eq. 17); the published DiffusionGS
    "linear",  # β linear (DDPM, Ho et al. 2020)
    "scaled_linear",  # sqrt(β) linear (latent diffusion, Rombach et al. 2022)
    "flow",  # flow matching on straight lines, no β (Lipman et al. 2023; Esser et al. 2024)
]

# β at the first and the last of 1000 steps, as published with each schedule.
_BETA_RANGES = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Settings of a noise schedule.

    Attributes:
        name: the law of β, or "flow", which has none.
        steps: number of training timesteps T.
        beta_start: β of the first step, None for the value published with the schedule. Read by linear and
            scaled_linear only.
        beta_end: β of the last step, None for the value published with the schedule. Read by the same two.
        shift: of a flow schedule, above 0: σ = shift · s / (1 + (shift − 1) · s) of a uniform s, so that above 1 more
            of the steps are noisy (Esser et al. 2024, eq. 23; Stable Diffusion 3 has 3).
    """

    name: ScheduleName = "squaredcos_cap_v2"
    steps: int = 1000
    beta_start: float | None = None
    beta_end: float | None = None
    shift: float = 1.0


class Schedule(NamedTuple):
    """A noise schedule; variance-preserving ones may be respaced.

    Attributes:
        timesteps: `[steps]` what a denoiser is told of each step, rising: the row of the *training* schedule, int32,
            or T · σ of a flow schedule, float32. Networks convert it to float32 themselves.
        alpha: `[steps]` the signal's factor α_t, falling.
        sigma: `[steps]` the noise's standard deviation σ_t, rising.
        alphas_cumprod: `[steps]` ᾱ_t = α_t², falling: Π (1 − β) where there are β.
        betas: `[steps]` β in (0, 1); None for flow matching.
        shift: of a flow schedule; None for variance-preserving ones.
    """

    timesteps: Int32[np.ndarray, "steps"] | Float32[np.ndarray, "steps"]
    alpha: Float64[np.ndarray, "steps"]
    sigma: Float64[np.ndarray, "steps"]
    alphas_cumprod: Float64[np.ndarray, "steps"]
    betas: Float64[np.ndarray, "steps"] | None = None
    shift: float | None = None

    @property
    def steps(self) -> int:
        """Returns the number of timesteps."""
        return len(self.timesteps)

    @property
    def is_flow(self) -> bool:
        """Returns whether x_t = (1 − s) x_0 + s ε, rather than α² + σ² = 1."""
        return self.shift is not None

    @property
    def snr(self) -> Float64[np.ndarray, "steps"]:
        """Returns the signal-to-noise ratio α_t² / σ_t², falling with t; 0 at the end of a flow schedule."""
        if self.is_flow:
            return (self.alpha / self.sigma) ** 2
        return self.alphas_cumprod / (1.0 - self.alphas_cumprod)

    @property
    def log_snr(self) -> Float64[np.ndarray, "steps"]:
        """Returns log(α_t² / σ_t²), falling with t; DPM-Solver's λ is half of it. −∞ at the end of a flow schedule."""
        if self.is_flow:
            with np.errstate(divide="ignore"):
                return 2.0 * (np.log(self.alpha) - np.log(self.sigma))
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
    if config.name == "flow":
        return _flow(config)
    if config.shift != 1.0:
        raise UserError(f"schedule.shift is {config.shift}, which only flow schedules have; leave it at 1")
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
        raise UserError(f"schedule.name is {config.name!r}; give one of squaredcos_cap_v2, linear, scaled_linear, flow")
    return _variance_preserving(np.arange(config.steps, dtype=np.int32), betas, np.cumprod(1.0 - betas))


def _variance_preserving(timesteps: np.ndarray, betas: np.ndarray, alphas_cumprod: np.ndarray) -> Schedule:
    return Schedule(timesteps, np.sqrt(alphas_cumprod), np.sqrt(1.0 - alphas_cumprod), alphas_cumprod, betas)


def _flow(config: ScheduleConfig) -> Schedule:
    if not config.shift > 0.0:
        raise UserError(f"schedule.shift is {config.shift}; give a number above 0")
    sigma = shifted(np.arange(1, config.steps + 1) / config.steps, config.shift)
    alpha = 1.0 - sigma
    return Schedule((config.steps * sigma).astype(np.float32), alpha, sigma, alpha**2, shift=config.shift)


def shifted(s: Float64[np.ndarray, "*shape"], shift: float) -> Float64[np.ndarray, "*shape"]:
    """Moves times in [0, 1] towards noise, both ends staying where they are (Esser et al. 2024, eq. 23)."""
    return shift * s / (1.0 + (shift - 1.0) * s)


def respace(schedule: Schedule, steps: int, spacing: Spacing = "linspace") -> Schedule:
    """Returns the shorter schedule that visits `steps` of the timesteps, with β such that ᾱ is unchanged there.

    Source: Nichol & Dhariwal 2021, eq. 19. A single step by "linspace" or "trailing" is the noisiest one.

    Raises:
        UserError: if there are not that many timesteps, or no β.
    """
    if schedule.is_flow:
        raise UserError("a flow schedule has no betas that could be respaced")
    chosen = spaced_steps(schedule.steps, steps, spacing)
    alphas_cumprod = schedule.alphas_cumprod[chosen]
    betas = 1.0 - alphas_cumprod / np.concatenate([[1.0], alphas_cumprod[:-1]])
    return _variance_preserving(schedule.timesteps[chosen], betas, alphas_cumprod)


def posterior(schedule: Schedule) -> Posterior:
    """Computes the coefficients of q(x_{t−1} | x_t, x_0) for every step of a (respaced) schedule.

    Raises:
        UserError: for a flow schedule, whose consecutive steps no β connects.
    """
    betas, alphas_cumprod = schedule.betas, schedule.alphas_cumprod
    if betas is None:
        raise UserError("a flow schedule has no betas, so no posterior in terms of them")
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
