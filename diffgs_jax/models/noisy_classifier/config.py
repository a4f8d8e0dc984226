"""Settings of the noisy_classifier family: data only, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal

from diffgs_jax.diffusion import ScheduleConfig, TimestepSampling


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The way down of a U-Net, and a mean over the pixels that are left; Dhariwal & Nichol 2021 pool by attention."""

    channels: int = 32
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 4)
    """Channels of each level, as a multiple of `channels`; a level has half the height and width of the one before."""
    blocks: int = 1
    """Residual blocks of a level."""
    attention_levels: tuple[int, ...] = ()
    """Levels whose residual blocks are followed by attention, 0 the finest."""
    head_width: int = 64
    """Channels of an attention head; where there are fewer channels there is one head."""
    groups: int = 8
    """Groups of the norms; divides the channels of every level."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that convolutions and matrix products are computed in. Parameters and norms are float32."""


@dataclasses.dataclass(frozen=True)
class NoisyClassifierConfig:
    """A classifier that is told how noisy an image is. Its schedule must be that of the model it is to guide."""

    network: EncoderConfig = EncoderConfig()
    """The network."""
    schedule: ScheduleConfig = ScheduleConfig(name="linear")
    """The noise schedule."""
    timestep_sampling: TimestepSampling = "uniform"
    """Which timesteps are trained at."""
    classes: int = 2
    """Number of classes. Labels of a record outside [0, classes) are not learned from."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes: less certain classifiers have smoother gradients."""
