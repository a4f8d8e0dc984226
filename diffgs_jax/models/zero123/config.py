"""Settings of the zero123 family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal

from diffgs_jax.diffusion import PredictionType, ScheduleConfig, TimestepSampling
from diffgs_jax.models.layers.clip_vision_config import CLIPVisionConfig
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig


@dataclasses.dataclass(frozen=True)
class PatchEncoderConfig:
    """A small encoder of the given picture: an MLP of each patch, the mean of all, and another MLP."""

    patch_size: int = 8
    """Side of a patch, pixels."""
    width: int = 128
    """Features inside."""


@dataclasses.dataclass(frozen=True)
class Zero123Config:
    """A model of an object's other sides (Liu et al. 2023, arXiv 2303.11328); the defaults are the published ones."""

    unet: LatentUNetConfig = LatentUNetConfig()
    """The network; its inputs, outputs and the width of the token follow from the other settings but `text_width`."""
    encoder: Literal["clip", "learned"] = "clip"
    """What makes features of the given picture for the token: CLIP's image encoder, which is not trained, or a small
    one that is trained with the network."""
    clip: CLIPVisionConfig = CLIPVisionConfig()
    """With `clip`: that encoder."""
    patches: PatchEncoderConfig = PatchEncoderConfig()
    """With `learned`: that encoder; its features are as many as `unet.text_width`."""
    autoencoder: str = ""
    """Checkpoint of the autoencoder of images whose latents are diffused; without one, pixels are."""
    channels: int = 4
    """Of what is diffused: 3 for pixels."""
    downsampling: int = 8
    """Pixels along a side for each latent pixel: 1 for pixels."""
    latent_scale: float = 0.18215
    """What latents are multiplied with for diffusion. Those of the given picture, which are shown to the network beside
    the noisy ones, are not: here they are divided by it again. 1 for pixels."""
    radius_scale: float = 1.0
    """What the difference of the cameras' distances is multiplied with before the network is told."""
    schedule: ScheduleConfig = ScheduleConfig(name="scaled_linear", beta_start=0.00085, beta_end=0.012)
    """The noise schedule."""
    prediction: PredictionType = "epsilon"
    """What the network predicts."""
    timestep_sampling: TimestepSampling = "uniform"
    """Which timesteps are trained at."""
    clip_x0: bool = False
    """Clip predicted clean images to what images can be before a sampler uses them; for pixels."""
    dropout: float = 0.05
    """p: a number u is drawn for each view; below p the picture's features are hidden, from p to 2p they and the
    picture, from 2p to 3p the picture alone. Published."""
