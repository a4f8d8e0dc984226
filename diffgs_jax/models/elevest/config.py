"""Settings of the elevest family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """The vision transformer that reads the picture; by default DINOv2's ViT-B/14 with registers."""

    width: int = 768
    """Features of a token."""
    layers: int = 12
    """Transformer blocks."""
    heads: int = 12
    """Attention heads; divides `width`."""
    mlp_ratio: int = 4
    """Hidden features of a block's MLP over `width`."""
    patch_size: int = 14
    """Pixels on a patch's side."""
    position_grid: int = 37
    """Positions on the side of the learned grid (518 / 14 in DINOv2); pictures of other sizes resize it."""
    registers: int = 4
    """Tokens beside those of the patches and of the class."""
    layer_scale: float = 0.1
    """What the learned scale behind attention and MLP starts at."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that matrix products are computed in. Parameters, norms and tokens are float32."""
    attention: Literal["xla", "cudnn"] = "xla"
    """`xla` runs anywhere; `cudnn` (bfloat16 on NVIDIA GPUs, elsewhere the same as `xla`) is faster there."""


@dataclasses.dataclass(frozen=True)
class ElevEstConfig:
    """An estimator of elevations: which interval of a few degrees, and where in it."""

    network: VisionConfig = VisionConfig()
    """The network below the two heads."""
    resolution: int = 224
    """Pictures are resized to this height and width, pixels, whatever their shape; training views have it already."""
    lowest: float = -10.0
    """Elevation at which the first interval begins, degrees; positive is above the object."""
    highest: float = 40.0
    """Elevation at which the last interval ends, degrees."""
    intervals: int = 25
    """How many there are, all of one size."""
    offset_weight: float = 1.0
    """Weight of the squared error of the place in the interval, beside the interval's cross-entropy."""
    foreground_ratio: float = 0.0
    """If not 0, what is not white is first centred and scaled so that its larger side is this fraction of the
    picture's, so that framing says nothing; published networks take pictures as they are."""
    views_are: Literal["uniform", "over_sphere"] = "uniform"
    """How cameras of the training data are spread: evenly in elevation, or evenly over a sphere. In the second case
    views are weighted by 1 / cos(elevation), as if they were spread evenly in elevation."""
