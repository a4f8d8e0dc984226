"""Settings of the controlnet family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal

from diffgs_jax.models.layers.latent_unet.config import ControlNetConfig


@dataclasses.dataclass(frozen=True)
class ControlNetModelConfig:
    """A ControlNet: what steers a diffusion model of splats by a picture of the first view (Lin et al. 2025)."""

    base: str = ""
    """Checkpoint of the model that is steered, a diffsplat with a U-Net; it stays as it is. Sampling asks for it no
    more: there, the model that is sampled from is the one that is steered."""
    picture: Literal["depth", "normal", "canny"] = "depth"
    """What the picture shows: depth, normals, or edges."""
    source: Literal["records", "splat"] = "records"
    """What pictures are made of in training: the records' maps of depth and normals, or the splat that the base's
    reconstructor makes, which needs no maps. Edges are those of the records' views with `records`."""
    network: ControlNetConfig = ControlNetConfig()
    """The network; its half of a U-Net is that of the base."""
