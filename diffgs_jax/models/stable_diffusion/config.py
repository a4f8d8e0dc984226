"""Settings of the stable_diffusion family: data only, hashable, so that a config can be a static jit argument."""

import dataclasses

from diffgs_jax.diffusion import PredictionType, ScheduleConfig, TimestepSampling
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig


@dataclasses.dataclass(frozen=True)
class StableDiffusionConfig:
    """A latent diffusion model of images from words; the defaults are those of Stable Diffusion 1.5."""

    unet: LatentUNetConfig = LatentUNetConfig()
    """The network."""
    autoencoder: str = ""
    """Checkpoint of the autoencoder of images whose latents are diffused."""
    downsampling: int = 8
    """Pixels along a side for each latent pixel."""
    text: str = ""
    """Folder of the published model, whose `tokenizer` and `text_encoder` read prompts."""
    schedule: ScheduleConfig = ScheduleConfig(name="scaled_linear", beta_start=0.00085, beta_end=0.012)
    """The noise schedule."""
    prediction: PredictionType = "epsilon"
    """What the network predicts: `v` in version 2.1 at 768 pixels."""
    timestep_sampling: TimestepSampling = "uniform"
    """Which timesteps are trained at."""
    dropout: float = 0.1
    """Probability that a training image's caption is replaced by the empty one, which guidance needs."""
