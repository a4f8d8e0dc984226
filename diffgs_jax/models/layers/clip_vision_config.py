"""Settings of CLIP's image encoder. Nothing here imports JAX."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class CLIPVisionConfig:
    """The image half of CLIP (Radford et al. 2021); the defaults are those of ViT-L/14.

    Attributes:
        resolution: height and width of the pictures it reads, pixels.
        patch_size: side of a patch, pixels.
        width: features of a token.
        hidden: features inside the MLP.
        layers: transformer blocks.
        heads: of attention.
        activation: of the MLP: x · σ(1.702 x), as the first CLIP was trained, or exact.
        projection: features of a picture in the space that CLIP shares with texts.
        dtype: of matrix products; norms and softmax are float32.
    """

    resolution: int = 224
    patch_size: int = 14
    width: int = 1024
    hidden: int = 4096
    layers: int = 24
    heads: int = 16
    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    projection: int = 768
    dtype: Literal["float32", "bfloat16"] = "float32"
