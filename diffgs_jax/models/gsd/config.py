"""Settings of the gsd family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
import os
import pathlib
from typing import Literal

from diffgs_jax.diffusion import PredictionType, ScheduleConfig, TimestepSampling
from diffgs_jax.errors import DataError
from diffgs_jax.files import json_object, load_json
from diffgs_jax.rasterizer import Backend


@dataclasses.dataclass(frozen=True)
class SetNetworkConfig:
    """The transformer: a token for each Gaussian, without positions, so that their order means nothing."""

    width: int = 256
    """Features of a token."""
    layers: int = 6
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; divides the width."""
    mlp_ratio: int = 4
    """Hidden features of a block's MLP, as a multiple of the width."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the blocks compute in."""
    attention: Literal["xla", "cudnn"] = "xla"
    """`xla` runs anywhere; `cudnn` (bfloat16 on NVIDIA GPUs) never holds a tokens × tokens matrix."""
    remat: bool = False
    """Recompute each block's activations in the backward pass: less memory for a third more time."""


@dataclasses.dataclass(frozen=True)
class SetStatistics:
    """Mean and standard deviation of the 14 numbers of a Gaussian in the data (`models/gaussian_sets.py`).

    They are part of the settings, and so of every checkpoint. The defaults are rough, of furniture in the object frame.
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0, -3.5, -3.5, -3.5, 0.8, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    """Of position, log scale, quaternion, logit of the opacity, colour."""
    std: tuple[float, ...] = (0.4, 0.4, 0.4, 0.8, 0.8, 0.8, 0.2, 0.3, 0.3, 0.3, 2.5, 0.9, 0.9, 0.9)
    """The same, above 0."""


@dataclasses.dataclass(frozen=True)
class ViewGuidanceConfig:
    """How given views guide sampling: by the gradient of what renderings of the predicted set lack to them.

    The published weight is not known to us: all of these are our own choice.
    """

    scale: float = 0.05
    """Step along the gradient of ½ Σ (rendering − view)² over pixels and colours, mean over the views, in normalised
    numbers; 0 leaves given views out."""
    through: Literal["prediction", "denoiser"] = "prediction"
    """Where the gradient goes: to the predicted clean set itself, without a gradient of the network; or through the
    network to the noisy set (Chung et al. 2023), which takes its memory and about three times the time."""


@dataclasses.dataclass(frozen=True)
class GSDConfig:
    """Diffusion over sets of Gaussians (after GSD, Mu et al., ECCV 2024, arXiv 2407.04237).

    What summaries of the paper say is followed: fitted sets, an unconditional transformer, view guidance. Numbers and
    the network are our own choice.
    """

    gaussians: int = 1024
    """Slots for Gaussians: a set has at most so many, and exactly so many are diffused."""
    network: SetNetworkConfig = SetNetworkConfig()
    """The transformer."""
    statistics: SetStatistics = SetStatistics()
    """Of the data, by which the 14 numbers are normalised."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The noise schedule."""
    prediction: PredictionType = "v"
    """What the network predicts, and the squared error is taken of."""
    timestep_sampling: TimestepSampling = "uniform"
    """Which timesteps are trained at."""
    timestep_shift: float = 1.0
    """Above 1, high noise is trained more often than low."""
    classes: int = 0
    """Number of classes; 0 for a model that knows none."""
    condition_dropout: float = 0.0
    """Probability that a set's class is hidden from the network, which classifier-free guidance needs."""
    guidance: ViewGuidanceConfig = ViewGuidanceConfig()
    """How given views guide sampling."""
    clip_x0: float = 4.0
    """Predicted clean numbers are kept within so many deviations of the mean."""
    background: float = 1.0
    """Grey level in [0, 1] that renderings are composited on; the data's must be the same."""
    backend: Backend = "auto"
    """Who renders. It is no part of what a model is."""


def read_statistics(folder: str | os.PathLike[str]) -> SetStatistics:
    """Returns the statistics that `scripts/gsd/fit_objects.py` writes into the index of the store it makes.

    Raises:
        UserError: if there is none: the sets are not made yet.
        DataError: if they are not in it.
    """
    path = pathlib.Path(folder) / "index.json"
    found = json_object(load_json(path, limit=2**28), str(path))
    try:
        mean, std = (tuple(float(value) for value in found["gaussians"][name]) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not that of a store of scripts/gsd/fit_objects.py ({error!r})") from None
    if len(mean) != 14 or len(std) != 14 or min(std) <= 0:
        raise DataError(f"{path} does not hold 14 means and 14 deviations above 0")
    return SetStatistics(mean, std)
