"""The published models: what each base decides (Lin et al. 2025 and its code)."""

from typing import NamedTuple

from diffgs_jax.diffusion import PUBLISHED_DIFFUSION, SamplerKind, ScheduleConfig
from diffgs_jax.models.diffsplat.config import (
    Backbone,
    DiffSplatConfig,
    FrozenConfig,
    ImageConfig,
    LatentConfig,
    LatentLossConfig,
    MMDiTConfig,
    PixArtConfig,
    TextConfig,
)
from diffgs_jax.models.layers.latent_unet.config import SD21_UNET, SDXL_UNET, LatentUNetConfig

PUBLISHED_ELEVATION = 10.0
"""Degrees above the object that splats of prompts are made at."""
PUBLISHED_DISTANCE = 2.8
"""Distance of the cameras in the object frame; the published world is half as large, and they are at 1.4 there."""
PUBLISHED_FOV = 39.5978
"""Field of view of the cameras, degrees."""


class PublishedSampling(NamedTuple):
    """How a published model is sampled from when the caller does not say.

    Attributes:
        sampler: by our name.
        steps: of it.
        guidance: scale of classifier-free guidance.
    """

    sampler: SamplerKind
    steps: int
    guidance: float


class _Base(NamedTuple):
    schedule: ScheduleConfig
    latents: LatentConfig
    guidance: float
    render_snr_gamma: float = 0.0


_SD_VAE, _SD3_VAE = LatentConfig(), LatentConfig(channels=16)
_SCALED_LINEAR, _LINEAR, _FLOW = (PUBLISHED_DIFFUSION[name].schedule for name in ("sd15", "pixart_sigma", "sd3"))
_BASES: dict[Backbone, _Base] = {
    "sd15": _Base(_SCALED_LINEAR, _SD_VAE, 7.5),
    "sd21": _Base(_SCALED_LINEAR, _SD_VAE, 7.5),
    "sdxl": _Base(_SCALED_LINEAR, _SD_VAE, 5.0),
    "pixart_alpha": _Base(_LINEAR, _SD_VAE, 4.5),
    "pixart_sigma": _Base(_LINEAR, _SD_VAE, 4.5, 1.0),
    "sd3m": _Base(_FLOW, _SD3_VAE, 5.0),
    "sd35m": _Base(_FLOW, _SD3_VAE, 5.0),
    "sd35l": _Base(_FLOW, _SD3_VAE, 5.0),
}
_MMDITS = {
    "sd3m": MMDiTConfig(),
    "sd35m": MMDiTConfig(qk_norm=True, dual_layers=13, position_side=384),
    "sd35l": MMDiTConfig(layers=38, heads=38, qk_norm=True),
}
_UNETS = {"sd15": LatentUNetConfig(), "sd21": SD21_UNET, "sdxl": SDXL_UNET}
_IMAGE_GUIDANCE = 2.0


def published_diffsplat(
    backbone: Backbone,
    *,
    image: bool = False,
    prompts: str = "",
    frozen: FrozenConfig = FrozenConfig(),  # noqa: B008
) -> DiffSplatConfig:
    """Returns the settings of a published model, those of its first stage of training among them.

    In the second stage `losses.render_probability` is 1. What is published of PixArt-α, SD2.1 and SD3.5 large is that
    its code trains them; their settings are those of their nearest kin.

    Args:
        backbone: the base.
        image: whether the model is shown a view beside the prompt.
        prompts: file of stored prompts.
        frozen: checkpoints of the other models that it uses.
    """
    base, is_flow = _BASES[backbone], backbone.startswith("sd3")
    return DiffSplatConfig(
        backbone=backbone,
        unet=_UNETS.get(backbone, LatentUNetConfig()),
        pixart=PixArtConfig(),
        mmdit=_MMDITS.get(backbone, MMDiTConfig()),
        latents=base.latents,
        plucker="official",
        text=TextConfig(encoder="stored", file=prompts),
        image=ImageConfig("vae") if image else ImageConfig(),
        schedule=base.schedule,
        prediction="flow" if is_flow else "v" if image else "epsilon",
        frozen=frozen,
        losses=LatentLossConfig(
            timestep_sampling="logit_normal" if is_flow else "uniform",
            render_snr_gamma=base.render_snr_gamma,
            decoder="tiny",
        ),
        published_samplers=True,
    )


def published_sampling(backbone: Backbone, *, image: bool = False) -> PublishedSampling:
    """Returns how a published model is sampled from."""
    guidance = _IMAGE_GUIDANCE if image else _BASES[backbone].guidance
    if backbone.startswith("sd3"):
        return PublishedSampling("euler", 28, guidance)
    return PublishedSampling("dpm_sde", 20, guidance)
