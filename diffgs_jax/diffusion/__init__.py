"""Diffusion on any array: noise schedules, samplers and guidance, as pure functions."""

from diffgs_jax.diffusion.guidance import classifier_free_guidance
from diffgs_jax.diffusion.predictions import Prediction, PredictionType, add_noise, from_x0, to_x0
from diffgs_jax.diffusion.samplers import Sampler, SamplerKind, make_sampler
from diffgs_jax.diffusion.sampling import (
    Denoise,
    SamplerState,
    initial_state,
    sample,
    sample_trajectory,
    sampler_step,
)
from diffgs_jax.diffusion.schedules import (
    Posterior,
    Schedule,
    ScheduleConfig,
    ScheduleName,
    Spacing,
    make_schedule,
    posterior,
    respace,
)
from diffgs_jax.diffusion.timesteps import TimestepSampling, sample_timesteps

__all__ = [
    "Denoise",
    "Posterior",
    "Prediction",
    "PredictionType",
    "Sampler",
    "SamplerKind",
    "SamplerState",
    "Schedule",
    "ScheduleConfig",
    "ScheduleName",
    "Spacing",
    "TimestepSampling",
    "add_noise",
    "classifier_free_guidance",
    "from_x0",
    "initial_state",
    "make_sampler",
    "make_schedule",
    "posterior",
    "respace",
    "sample",
    "sample_timesteps",
    "sample_trajectory",
    "sampler_step",
    "to_x0",
]
