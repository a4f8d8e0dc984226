"""The scheduler settings that DiffSplat's released denoisers are sampled with (Lin et al. 2025, arXiv 2501.16764).

The names of the samplers are those of its command line. Spacing is trailing throughout: its code asks for zero terminal
SNR as well, which has no effect on the β that were trained with.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from diffgs_jax.diffusion.options import Quirks, SamplerConfig
from diffgs_jax.diffusion.schedules import ScheduleConfig


class PublishedDiffusion(NamedTuple):
    """How a released model was trained and is sampled.

    Attributes:
        schedule: the noise schedule.
        samplers: settings by published name.
    """

    schedule: ScheduleConfig
    samplers: Mapping[str, SamplerConfig]


def _variance_preserving(schedule: ScheduleConfig, ddim: Quirks) -> PublishedDiffusion:
    samplers = {
        "ddim": SamplerConfig("ddim", eta=1.0, spacing="trailing", quirks=ddim),
        "dpmsolver++": SamplerConfig("dpm", spacing="trailing"),
        "sde-dpmsolver++": SamplerConfig("dpm_sde", spacing="trailing"),
        "edm": SamplerConfig("edm", spacing="trailing", quirks=Quirks(starts_without_signal=True)),
    }
    return PublishedDiffusion(schedule, MappingProxyType(samplers))


def _flow() -> PublishedDiffusion:
    solver = Quirks(starts_below_noise=True, truncated_timesteps=True)
    samplers = {
        "flow": SamplerConfig("euler", spacing="linspace", quirks=Quirks(shifts_twice=True)),
        "dpmsolver++": SamplerConfig("dpm", spacing="trailing", quirks=solver),
        "sde-dpmsolver++": SamplerConfig("dpm_sde", spacing="trailing", quirks=solver),
    }
    return PublishedDiffusion(ScheduleConfig("flow", shift=3.0), MappingProxyType(samplers))


PUBLISHED_DIFFUSION: Mapping[str, PublishedDiffusion] = MappingProxyType(
    {
        # Stable Diffusion 1.5; its scheduler says set_alpha_to_one = false and clip_sample = false.
        "sd15": _variance_preserving(
            ScheduleConfig("scaled_linear"), Quirks(ends_at_first_timestep=True, fixed_stride=True)
        ),
        # PixArt-Σ; its scheduler says nothing of DDIM, whose code clips by default.
        "pixart_sigma": _variance_preserving(ScheduleConfig("linear"), Quirks(fixed_stride=True, clips_x0=True)),
        # Stable Diffusion 3 and 3.5.
        "sd3": _flow(),
    }
)
"""By base model."""
