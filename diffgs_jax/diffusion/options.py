"""Settings of samplers, among them what published code does otherwise than the papers."""

import dataclasses
from typing import Literal

from diffgs_jax.diffusion.sampler_kind import SamplerKind
from diffgs_jax.diffusion.schedules import Schedule
from diffgs_jax.diffusion.spacing import Spacing
from diffgs_jax.errors import UserError

Variance = Literal[
    "fixed_large",  # β, the upper bound (Ho et al. 2020, section 3.2); the published DiffusionGS
    "fixed_small",  # β̃, that of q(x_{t−1} | x_t, x_0)
]

_KINDS: dict[bool, tuple[SamplerKind, ...]] = {
    False: ("ddpm", "ddim", "dpm", "dpm_sde", "edm"),
    True: ("euler", "ddpm", "ddim", "dpm", "dpm_sde"),
}


@dataclasses.dataclass(frozen=True)
class Quirks:
    """What published sampling code does otherwise than the papers say; the defaults are as the papers say.

    They are for weights that were released, and judged, with such code. Each says which samplers it is for; others
    refuse it.

    Attributes:
        ends_at_first_timestep: the last step goes to ᾱ_0 of the training schedule and not to the clean array (ddim).
        fixed_stride: a step from t goes to t − T // steps, and not to the next timestep visited: the two differ where
            the number of steps does not divide T, or rounding moved a timestep (ddim).
        clips_x0: x̂_0 is clipped to [−1, 1], while the noise is taken from the unclipped one (ddim).
        leading_offset: added to the timesteps of leading spacing (variance-preserving schedules).
        starts_without_signal: the first noise is multiplied by σ_T, though data of variance 1 would give x_T variance
            1 (edm).
        starts_below_noise: sampling starts at s = 1 − 1/T, below pure noise, from pure noise (dpm and dpm_sde of flow).
        truncated_timesteps: the network is told ⌊T · σ⌋, though the noise level is σ (dpm and dpm_sde of flow). For
            networks that predict the flow; see `Sampler.sigma_excess`.
        shifts_twice: the schedule's shift is applied to both ends of linspace spacing, and then to all steps again
            (euler).
    """

    ends_at_first_timestep: bool = False
    fixed_stride: bool = False
    clips_x0: bool = False
    leading_offset: int = 0
    starts_without_signal: bool = False
    starts_below_noise: bool = False
    truncated_timesteps: bool = False
    shifts_twice: bool = False


# Quirk -> (samplers that may have it, whether on flow schedules).
_APPLIES: dict[str, tuple[tuple[SamplerKind, ...], bool]] = {
    "ends_at_first_timestep": (("ddim",), False),
    "fixed_stride": (("ddim",), False),
    "clips_x0": (("ddim",), False),
    "leading_offset": (_KINDS[False], False),
    "starts_without_signal": (("edm",), False),
    "starts_below_noise": (("dpm", "dpm_sde"), True),
    "truncated_timesteps": (("dpm", "dpm_sde"), True),
    "shifts_twice": (("euler",), True),
}


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """Settings of a sampler, all but its number of steps.

    Attributes:
        kind: the rule.
        eta: how random DDIM is, in [0, 1]; the other samplers have no such choice.
        spacing: which timesteps are visited. None is "linspace", as published, for ddpm and ddim on
            variance-preserving schedules, and "trailing" for everything else: with few steps the last stride of
            linspace, down to t = 0, is several times longer in log σ than the one before, too far for a multistep rule
            to extrapolate.
        variance: of ddpm. None is "fixed_large", as published, but "fixed_small" on flow schedules, where the bound is
            loose.
        quirks: of published code.
    """

    kind: SamplerKind = "ddim"
    eta: float = 0.0
    spacing: Spacing | None = None
    variance: Variance | None = None
    quirks: Quirks = Quirks()


def sampler_kinds(schedule: Schedule) -> tuple[SamplerKind, ...]:
    """Returns the samplers that there are for a schedule, the usual one for flow first."""
    return _KINDS[schedule.is_flow]


def checked(config: SamplerConfig, is_flow: bool) -> SamplerConfig:
    """Returns the settings with everything that was left open decided.

    Raises:
        UserError: if one is out of range, or does not go with another or with the schedule.
    """
    kind, spacing, variance, quirks = config.kind, config.spacing, config.variance, config.quirks
    family = "flow" if is_flow else "variance-preserving"
    if kind not in _KINDS[is_flow]:
        raise UserError(f"sampler is {kind!r}; give one of {', '.join(_KINDS[is_flow])} for a {family} schedule")
    if config.eta and kind != "ddim":
        raise UserError(f"eta is a setting of the ddim sampler; leave it at 0 for {kind}")
    if not 0.0 <= config.eta <= 1.0:
        raise UserError(f"eta is {config.eta}; give 0 to 1")
    if variance is not None and kind != "ddpm":
        raise UserError(f"variance is a setting of the ddpm sampler; leave it at None for {kind}")
    for name, (kinds, of_flow) in _APPLIES.items():
        if getattr(quirks, name) and (kind not in kinds or of_flow != is_flow):
            raise UserError(f"quirk {name} is not one of {kind} on a {family} schedule")
    if spacing is None:
        spacing = "linspace" if kind in ("ddpm", "ddim") and not is_flow else "trailing"
    if quirks.shifts_twice and spacing != "linspace":
        raise UserError(f"quirk shifts_twice goes with linspace spacing, not with {spacing}")
    if variance is None:
        variance = "fixed_small" if is_flow else "fixed_large"
    if variance not in ("fixed_large", "fixed_small"):
        raise UserError(f"variance is {variance!r}; give fixed_large or fixed_small")
    return dataclasses.replace(config, spacing=spacing, variance=variance)
