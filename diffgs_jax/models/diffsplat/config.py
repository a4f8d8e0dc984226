"""Settings of the diffsplat family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal

from diffgs_jax.diffusion import PredictionType, ScheduleConfig, TimestepSampling
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.splat_grid import PluckerRule
from diffgs_jax.rasterizer import Backend

Backbone = Literal["sd15", "sd21", "sdxl", "pixart_alpha", "pixart_sigma", "sd3m", "sd35m", "sd35l"]
"""The image model that a denoiser is made like."""


@dataclasses.dataclass(frozen=True)
class PixArtConfig:
    """Settings of the transformer of PixArt; the defaults are those of PixArt-Σ at 512 pixels."""

    layers: int = 28
    """Transformer blocks."""
    heads: int = 16
    """Attention heads."""
    head_width: int = 72
    """Features of an attention head; all heads together are a token."""
    patch_size: int = 2
    """Side of a token's patch, latent pixels."""
    text_width: int = 4096
    """Features of a prompt's tokens."""
    position_base: int = 16
    """Tokens on a side at which positions are one apart."""
    position_scale: float = 1.0
    """What positions are divided by."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that matrix products are computed in. Parameters, norms, softmax and the time's embedding are float32."""
    attention: Literal["xla", "cudnn"] = "xla"
    """`xla` runs anywhere; `cudnn` (bfloat16 on NVIDIA GPUs, elsewhere the same as `xla`) never holds a tokens × tokens
    matrix."""
    remat: bool = False
    """Recompute each block's activations in the backward pass: less memory for a third more time."""


@dataclasses.dataclass(frozen=True)
class MMDiTConfig:
    """Settings of the transformer of Stable Diffusion 3; the defaults are those of Stable Diffusion 3 medium."""

    layers: int = 24
    """Transformer blocks."""
    heads: int = 24
    """Attention heads."""
    head_width: int = 64
    """Features of an attention head; all heads together are a token."""
    patch_size: int = 2
    """Side of a token's patch, latent pixels."""
    text_width: int = 4096
    """Features of a prompt's tokens."""
    pooled_width: int = 2048
    """Features of a pooled prompt."""
    qk_norm: bool = False
    """Normalise queries and keys of each head (3.5)."""
    dual_layers: int = 0
    """How many of the first blocks have a second attention among the views alone (13 in 3.5 medium)."""
    position_side: int = 192
    """Side of the table of positions, tokens; latents take its middle. 384 in 3.5 medium."""
    position_base: int = 64
    """Tokens on a side at which positions would be one apart."""
    position_table: Literal["computed", "stored"] = "computed"
    """Whether the table follows from the two settings above or is among the weights, as some checkpoints have it. It is
    not trained."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that matrix products are computed in. Parameters, norms, softmax and the time's embedding are float32."""
    attention: Literal["xla", "cudnn"] = "xla"
    """`xla` runs anywhere; `cudnn` (bfloat16 on NVIDIA GPUs, elsewhere the same as `xla`) never holds a tokens × tokens
    matrix."""
    remat: bool = False
    """Recompute each block's activations in the backward pass: less memory for a third more time."""


@dataclasses.dataclass(frozen=True)
class LatentConfig:
    """What is diffused: latents of splat grids, as the frozen VAE shifts and scales them."""

    channels: int = 4
    """Of the VAE's latents."""
    downsampling: int = 8
    """Pixels of a view along a side for each latent pixel."""


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """How prompts reach the network."""

    encoder: Literal["none", "learned", "stored"] = "stored"
    """`stored`: features of text encoders, from `file`; `learned`: a small encoder that is trained with the
    network; `none`: the model knows no prompts."""
    file: str = ""
    """With `stored`: an `.npz` of prompts and their features (`scripts/embed_prompts.py` writes it)."""
    tokens: int = 16
    """With `learned`: words of a prompt that are read; further ones are cut off."""
    vocabulary: int = 4096
    """With `learned`: rows of the table of words. A word's row is a hash of it, so there is no list of words."""
    width: int = 128
    """With `learned`: features of a word."""
    layers: int = 2
    """With `learned`: transformer blocks."""
    heads: int = 4
    """With `learned`: attention heads."""


@dataclasses.dataclass(frozen=True)
class ImageConfig:
    """How a given view reaches the network: as latents of a further view, in front of those that are denoised."""

    encoder: Literal["none", "vae", "learned"] = "none"
    """`vae`: the latents of the frozen image VAE, as published; `learned`: of patches of the view, by two layers that
    are trained with the network; `none`: the model is shown no view."""
    offset: float = 0.0
    """What is added to the image VAE's latents. 0.0932 (1.5305 · 0.0609) repeats the published sampling code of SD3,
    which leaves out the VAE's shift, though it was there in training."""


@dataclasses.dataclass(frozen=True)
class FrozenConfig:
    """Checkpoints of other models that this one uses: folders of runs or of published weights."""

    reconstructor: str = ""
    """Turns four views into splat grids in training, and says what the numbers of a grid mean."""
    vae: str = ""
    """Turns splat grids into latents and back."""
    image_vae: str = ""
    """Turns images into latents, for `image.encoder vae` and for samples that start from a blob."""


@dataclasses.dataclass(frozen=True)
class DropoutConfig:
    """Shares of the training samples that lose their conditions, which classifier-free guidance needs."""

    text: float = 0.05
    """Of losing the prompt only."""
    both: float = 0.05
    """Of losing prompt and image; without an image, the prompt."""
    image: float = 0.05
    """Of losing the image only."""


@dataclasses.dataclass(frozen=True)
class LatentLossConfig:
    """What the network is trained to do with latents, and with what they look like."""

    diffusion: float = 1.0
    """Weight of the error of the latents."""
    error_of: Literal["output", "x0"] = "output"
    """What the squared error is of: what the network predicts, or the clean latents that this implies (the published
    `edm_style_training` and `precondition_outputs`)."""
    weighting: Literal["none", "min_snr", "edm", "sigma_sqrt", "cosmap"] = "none"
    """How timesteps are weighed: `min_snr` by min(SNR, γ) of the clean latents' error (Hang et al. 2023), whatever the
    error is of; `edm` by SNR = 1/σ²; `sigma_sqrt` and `cosmap` for flow (Esser et al. 2024)."""
    snr_gamma: float = 5.0
    """γ of `min_snr`."""
    timestep_sampling: TimestepSampling = "uniform"
    """Which timesteps are trained at: `uniform`; `logit_normal` as published for SD3; `mode`."""
    render: float = 1.0
    """Weight of the rendering loss, which is the one that the reconstructor was trained with."""
    render_probability: float = 0.0
    """Share of the steps that have a rendering loss: 0 in the published first stage, 1 in the second."""
    render_snr_gamma: float = 0.0
    """γ above 0 weighs a sample's rendering loss by min(SNR, γ): 1 for the published PixArt-Σ, else off."""
    decoder: Literal["full", "tiny"] = "full"
    """Which of the VAE's decoders the rendering loss goes through; published, the `tiny` one."""


@dataclasses.dataclass(frozen=True)
class DiffSplatConfig:
    """A latent diffusion model of splats (DiffSplat, Lin et al., ICLR 2025, arXiv 2501.16764)."""

    backbone: Backbone = "pixart_sigma"
    """The image model that the network is made like, which decides which of the following settings are read."""
    unet: LatentUNetConfig = LatentUNetConfig()
    """The network, for `sd15`, `sd21` and `sdxl`; its inputs and outputs follow from the other settings."""
    pixart: PixArtConfig = PixArtConfig()
    """The network, for `pixart_alpha` and `pixart_sigma`."""
    mmdit: MMDiTConfig = MMDiTConfig()
    """The network, for `sd3m`, `sd35m` and `sd35l`."""
    latents: LatentConfig = LatentConfig()
    """What is diffused."""
    views: int = 4
    """Views that splats are made of."""
    rays: bool = True
    """Show the network Plücker rays of every latent pixel."""
    plucker: PluckerRule = "centered"
    """Which ray belongs to a pixel; `official` for published weights."""
    text: TextConfig = TextConfig()
    """How prompts reach the network."""
    image: ImageConfig = ImageConfig()
    """How a given view reaches the network."""
    schedule: ScheduleConfig = ScheduleConfig(name="linear")
    """The noise schedule."""
    prediction: PredictionType = "epsilon"
    """What the network predicts: published, `epsilon` from prompts, `v` from images, `flow` for SD3."""
    frozen: FrozenConfig = FrozenConfig()
    """Other models that this one uses."""
    dropout: DropoutConfig = DropoutConfig()
    """How often conditions are hidden in training."""
    losses: LatentLossConfig = LatentLossConfig()
    """What it is trained to do."""
    published_samplers: bool = False
    """Sample with the settings of the published code where they differ from the papers'."""
    backend: Backend = "auto"
    """Who renders: `xla` runs on any device, `triton` and `mosaic` are kernels for NVIDIA GPUs, `auto` takes what is
    proven on the device. It changes no result beyond rounding, and is no part of what a model is."""


def input_channels(config: DiffSplatConfig) -> int:
    """Returns how many channels the network reads: latents, rays, and whether a view is denoised."""
    return config.latents.channels + 6 * config.rays + (config.image.encoder != "none")


def network_settings(config: DiffSplatConfig) -> LatentUNetConfig | PixArtConfig | MMDiTConfig:
    """Returns the settings of the network that a config's backbone has."""
    if config.backbone.startswith("sd3"):
        return config.mmdit
    if config.backbone.startswith("pixart"):
        return config.pixart
    return dataclasses.replace(config.unet, inputs=input_channels(config), outputs=config.latents.channels)


def pooled_width(config: DiffSplatConfig) -> int:
    """Returns how many features of a pooled prompt the network reads; 0 for none."""
    settings = network_settings(config)
    return 0 if isinstance(settings, PixArtConfig) else settings.pooled_width


def latent_multiple(config: DiffSplatConfig) -> int:
    """Returns what the sides of latents must be a multiple of."""
    settings = network_settings(config)
    return 2 ** (len(settings.channels) - 1) if isinstance(settings, LatentUNetConfig) else settings.patch_size
