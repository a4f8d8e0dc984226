"""Diffusion and flow matching on any array: schedules, samplers, one sampling loop, guidance, as pure functions."""

from diffgs_jax.diffusion.guidance import classifier_free_guidance
from diffgs_jax.diffusion.options import Quirks, SamplerConfig, SamplerKind, Variance, sampler_kinds
from diffgs_jax.diffusion.predictions import (
    Prediction,
    PredictionType,
    add_noise,
    alpha_and_sigma,
    converted,
    from_x0,
    to_epsilon,
    to_x0,
    training_target,
)
from diffgs_jax.diffusion.published import PUBLISHED_DIFFUSION, PublishedDiffusion
from diffgs_jax.diffusion.samplers import Sampler, make_sampler, noised, sampler_from_config, starting_later
from diffgs_jax.diffusion.sampling import (
    Denoise,
    SamplerState,
    first_noise,
    initial_state,
    padded,
    sample,
    sample_trajectory,
    sampler_step,
    step_noise,
    take_steps,
)
from diffgs_jax.diffusion.schedules import (
    Posterior,
    Schedule,
    ScheduleConfig,
    ScheduleName,
    make_schedule,
    posterior,
    respace,
)
from diffgs_jax.diffusion.spacing import Spacing
from diffgs_jax.diffusion.timesteps import TimestepSampling, mode_times, sample_timesteps, snr

__all__ = [
    "PUBLISHED_DIFFUSION",
    "Denoise",
    "Posterior",
    "Prediction",
    "PredictionType",
    "PublishedDiffusion",
    "Quirks",
    "Sampler",
    "SamplerConfig",
    "SamplerKind",
    "SamplerState",
    "Schedule",
    "ScheduleConfig",
    "ScheduleName",
    "Spacing",
    "TimestepSampling",
    "Variance",
    "add_noise",
    "alpha_and_sigma",
    "classifier_free_guidance",
    "converted",
    "first_noise",
    "from_x0",
    "initial_state",
    "make_sampler",
    "make_schedule",
    "mode_times",
    "noised",
    "padded",
    "posterior",
    "respace",
    "sample",
    "sample_timesteps",
    "sample_trajectory",
    "sampler_from_config",
    "sampler_kinds",
    "sampler_step",
    "snr",
    "starting_later",
    "step_noise",
    "take_steps",
    "to_epsilon",
    "to_x0",
    "training_target",
]
