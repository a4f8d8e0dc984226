"""Settings of the U-Nets of latent diffusion and of their ControlNets. Nothing here imports JAX."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class LatentUNetConfig:
    """The U-Net of Stable Diffusion (Rombach et al. 2022, appendix E); the defaults are those of version 1.5.

    Attributes:
        inputs: channels of what it reads: latents, and what is concatenated to them.
        outputs: channels of what it predicts.
        channels: of each level, the finest first; each has half the height and width of the one before.
        blocks: residual blocks of a level on the way down; one more on the way up.
        depths: transformer blocks behind each residual block of a level, 0 for none.
        middle_depth: transformer blocks in the middle.
        heads: of attention in each level; the middle has as many as the last level.
        groups: of the group norms.
        text_width: features of a token of the text.
        size_features: sinusoids of each of the six numbers that say how a picture was cropped (SDXL, Podell et al.
            2023, section 2.2); 0 where the network is not told.
        pooled_width: features of the pooled text that goes with them.
        dtype: of convolutions and matrix products; norms and softmax are float32.
        attention: who computes self-attention; `cudnn` needs bfloat16.
        remat: keep only the inputs of residual and transformer blocks for the backward pass.
    """

    inputs: int = 4
    outputs: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    blocks: int = 2
    depths: tuple[int, ...] = (1, 1, 1, 0)
    middle_depth: int = 1
    heads: tuple[int, ...] = (8, 8, 8, 8)
    groups: int = 32
    text_width: int = 768
    size_features: int = 0
    pooled_width: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["xla", "cudnn"] = "xla"
    remat: bool = False


@dataclasses.dataclass(frozen=True)
class ControlNetConfig:
    """A ControlNet (Zhang et al. 2023): the half of a U-Net that looks, and a way in for a picture.

    Attributes:
        unet: the network whose half it is.
        picture_channels: of the control picture.
        picture_widths: channels of the convolutions that bring the picture to the size of the latents, one halving
            between each two of them.
    """

    unet: LatentUNetConfig = LatentUNetConfig(inputs=10)
    picture_channels: int = 3
    picture_widths: tuple[int, ...] = (16, 32, 96, 256)


SDXL_UNET = LatentUNetConfig(
    channels=(320, 640, 1280),
    depths=(0, 2, 10),
    middle_depth=10,
    heads=(5, 10, 20),
    text_width=2048,
    size_features=256,
    pooled_width=1280,
)
"""The network of Stable Diffusion XL (Podell et al. 2023)."""

SD21_UNET = LatentUNetConfig(heads=(5, 10, 20, 20), text_width=1024)
"""The network of Stable Diffusion 2.1."""
