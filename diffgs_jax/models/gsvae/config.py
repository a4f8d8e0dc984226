"""Settings of the gsvae family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
    """The convolutional autoencoder; by default that of Stable Diffusion 1.5 and SDXL with a splat grid's channels."""

    channels: int = 12
    """Channels of what is encoded: 12 for splat grids, 3 for images."""
    latents: int = 4
    """Channels of a latent; 16 in Stable Diffusion 3."""
    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Channels of each level, the finest first; each has half the height and width of the one before."""
    blocks: int = 2
    """Residual blocks of a level in the encoder; the decoder has one more."""
    groups: int = 32
    """Groups of the norms; divides all widths."""
    projections: bool = True
    """Whether a 1×1 convolution ends the encoder and another begins the decoder; Stable Diffusion 3 has none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that convolutions and matrix products are computed in. Parameters and norms are float32."""


@dataclasses.dataclass(frozen=True)
class TinyDecoderConfig:
    """A second, fast decoder, for losses that decode at every step (TAESD). It knows latents as diffusion does."""

    width: int = 64
    """Channels inside; 0 for no such decoder."""
    blocks: int = 3
    """Residual blocks of a resolution; the last resolution has one."""


@dataclasses.dataclass(frozen=True)
class AutoencoderLossConfig:
    """Weights of the terms of the loss. A term of weight 0 is not computed."""

    reconstruction: float = 1.0
    """Weight of the mean squared error of what is decoded, in [−1, 1]."""
    rendering: float = 1.0
    """Weight of the loss of renderings of the decoded grid, against the views, as its reconstructor was trained with;
    not of images."""
    perceptual: float = 0.0
    """Weight of LPIPS between decoded and true images; of images alone. Needs `python scripts/fetch_lpips.py`."""
    kl: float = 0.0
    """Weight of the divergence of the latents' distribution from the standard normal, summed over a latent's numbers.
    The published models were trained without (latent diffusion's image models with 1e-6)."""


@dataclasses.dataclass(frozen=True)
class GSVAEConfig:
    """A variational autoencoder of splat grids, or of images."""

    network: AutoencoderConfig = AutoencoderConfig()
    """Encoder and decoder."""
    tiny: TinyDecoderConfig = TinyDecoderConfig()
    """The second decoder, part of the weights in both stages."""
    scaling_factor: float = 0.18215
    """What latents are multiplied with for diffusion, after the shift: 0.13025 for SDXL's, 1.5305 for those of SD3."""
    shift_factor: float = 0.0
    """What is taken off latents for diffusion: 0.0609 for SD3's."""
    reconstructor: str = ""
    """Checkpoint of the model that makes splat grids of posed views (a gsrecon run): its grids are what is encoded.
    Without one, `network.channels` is 3 and the views themselves are."""
    stage: Literal["autoencoder", "tiny_decoder"] = "autoencoder"
    """What is trained: encoder and decoder, or the tiny decoder alone, on the latents of an encoder that stays as it
    is (start from a run of the first stage with `run.init_from`)."""
    losses: AutoencoderLossConfig = AutoencoderLossConfig()
    """What it is trained to do."""
