"""What can be asked of a trained model, beside the image: the same for Python, command lines and the web page."""

import dataclasses
import pathlib
from typing import Literal

import numpy as np

from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError
from diffgs_jax.interop import Matting
from diffgs_jax.models import Requirements


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """How something is sampled."""

    steps: int | None = None
    """Denoising steps: more take longer, and the best number depends on the sampler; by default the model's, 30."""
    sampler: SamplerKind | None = None
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published. By default the
    model's, `ddim` unless it was imported."""
    guidance: tuple[float, ...] = (1.0,)
    """Classifier-free guidance: 1 is none, above it the condition counts for more than it does by itself, 0 is the
    model without it. One number, or one for each generated view. Only for models trained with condition dropout, as the
    bundled one was; takes twice the time."""
    views: int | None = None
    """Views to generate, evenly around the object; more make more Gaussians. By default those the model was trained
    with, 3."""
    seed: int = 0
    """Of the noise: another seed imagines another unseen side. 0 to 2³² − 1."""


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """What is said of the input, and what is said instead of one."""

    matting: Matting = "auto"
    """What tells the object from its background: its own transparency (`alpha`), a background of one colour
    (`plain`), the rembg package (`rembg`), an ISNet file (`isnet`), or nothing (`keep`). `auto` takes the first of
    alpha, plain, and a given ISNet file that fits."""
    matting_model: pathlib.Path | None = None
    """An ISNet network as an ONNX file, for photographs whose background is not plain."""
    elevation: float | None = None
    """How far above the object's horizon the camera was, degrees; by default the model's, 20."""
    foreground_ratio: float | Literal["model"] | None = "model"
    """The object's larger side over the side of the view the model is shown; `model` takes what the model was trained
    with, None keeps the image's framing."""
    label: int | None = None
    """Number of the class to make, for models that know classes."""


def check_options(
    inputs: InputOptions, sampling: SamplingOptions, requirements: Requirements, *, has_image: bool, generated: int
) -> None:
    """Refuses what no image could be sampled with, or what this model cannot do.

    Args:
        inputs: what is said of the input.
        sampling: how to sample.
        requirements: of the model's family.
        has_image: whether an image is given.
        generated: views that are generated.

    Raises:
        UserError: naming the option and what it may be.
    """
    if requirements.makes == "nothing":
        raise UserError("this model generates nothing that could be sampled")
    least, most = requirements.condition_views
    if has_image and most == 0:
        raise UserError("this model is shown no image: leave --image out")
    if not has_image and least > 0:
        raise UserError("this model needs an image: give one with --image")
    if has_image and "object" not in requirements.domains:
        raise UserError("this model knows scenes only, and an image of an object is asked for")
    if inputs.label is not None and not requirements.labels:
        raise UserError("this model knows no classes: leave --label out")
    if not 0 <= sampling.seed < 2**32:
        raise UserError(f"the seed must be from 0 to {2**32 - 1}, not {sampling.seed}")
    if inputs.elevation is not None and not -90 <= inputs.elevation <= 90:
        raise UserError(f"the elevation must be from -90 to 90 degrees, not {inputs.elevation}")
    if sampling.views is not None and not requirements.cameras:
        raise UserError("this model generates no posed views: leave --views out")
    if sampling.views is not None and not 1 <= sampling.views <= 64:
        raise UserError(f"the number of views must be from 1 to 64, not {sampling.views}")
    scales = sampling.guidance
    if len(scales) not in (1, generated) or not all(np.isfinite(scales)):
        raise UserError(f"guidance is one finite number, or one for each of the {generated} views, not {list(scales)}")
    if any(scale != 1 for scale in scales) and not requirements.guided:
        raise UserError(
            "this model cannot be guided: it was never trained without its condition "
            "(its condition dropout was 0); leave the guidance at 1"
        )
