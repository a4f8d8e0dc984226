"""Settings of the ddpm family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal

from diffgs_jax.diffusion import PredictionType, ScheduleConfig, TimestepSampling


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """The U-Net that reads a noisy image and the time (Ho et al. 2020, appendix B)."""

    channels: int = 64
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 2, 2)
    """Channels of each level, as a multiple of `channels`; a level has half the height and width of the one before."""
    blocks: int = 2
    """Residual blocks of a level on the way down; on the way up there is one more."""
    attention_levels: tuple[int, ...] = (1,)
    """Levels whose residual blocks are followed by attention, 0 the finest; the middle always has it."""
    head_width: int = 64
    """Channels of an attention head; where there are fewer channels there is one head."""
    groups: int = 32
    """Groups of the norms; divides the channels of every level."""
    injection: Literal["shift", "scale_shift"] = "shift"
    """How blocks take time and class: `shift`, added between the convolutions (Ho et al. 2020), or `scale_shift` of the
    second norm (Dhariwal & Nichol 2021)."""
    time: Literal["sinusoidal", "fourier"] = "sinusoidal"
    """How the time is told: sinusoids of geometrically spaced frequencies, or `fourier`, of random ones."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that convolutions and matrix products are computed in. Parameters and norms are float32."""
    attention: Literal["xla", "cudnn"] = "xla"
    """`xla` runs anywhere; `cudnn` (bfloat16 on NVIDIA GPUs, elsewhere the same as `xla`) never holds a pixels × pixels
    matrix."""


@dataclasses.dataclass(frozen=True)
class DDPMConfig:
    """A diffusion model of images: Ho et al. 2020, with the choices of its successors."""

    network: UNetConfig = UNetConfig()
    """The network."""
    schedule: ScheduleConfig = ScheduleConfig(name="linear")
    """The noise schedule; `squaredcos_cap_v2` (Nichol & Dhariwal 2021) suits images of 64 pixels and less better."""
    prediction: PredictionType = "epsilon"
    """What the network predicts and the mean squared error is taken of: the noise `epsilon` (Ho et al. 2020, eq. 14),
    the clean image `x0`, the velocity `v` (Salimans & Ho 2022), or `flow`, that of straight lines (Lipman et al. 2023),
    which goes with the `flow` schedule."""
    timestep_sampling: TimestepSampling = "uniform"
    """Which timesteps are trained at."""
    timestep_shift: float = 1.0
    """Above 1, high noise is trained more often than low."""
    clip_x0: bool = True
    """Clip predicted clean images to what images can be before a sampler uses them, as the published code does. At high
    noise they are the network's output times a large number, and samplers drift away without it."""
    classes: int = 0
    """Number of classes; 0 for a model that knows none. Labels of a record outside [0, classes) mean no class."""
    condition_dropout: float = 0.0
    """Probability that a training image's class is hidden from the network, which classifier-free guidance needs
    (Ho & Salimans 2022; 0.1 is usual)."""
