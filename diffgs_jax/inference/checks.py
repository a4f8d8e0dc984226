"""What no image could be sampled with, or what a model cannot do, refused in one line."""

import math

from diffgs_jax.errors import UserError
from diffgs_jax.inference.options import InputOptions, SamplingOptions
from diffgs_jax.models import Requirements


def check_elevation(inputs: InputOptions) -> None:
    """Refuses an elevation that no camera has, and a network that is not asked.

    Raises:
        UserError: naming the option and what it may be.
    """
    if isinstance(inputs.elevation, (int, float)) and not -90 <= inputs.elevation <= 90:
        raise UserError(f"the elevation must be from -90 to 90 degrees, not {inputs.elevation}")
    if inputs.elevation_model is not None and inputs.elevation != "estimate":
        raise UserError("--elevation-model says who estimates; say --elevation estimate too")


def check_options(
    inputs: InputOptions,
    sampling: SamplingOptions,
    requirements: Requirements,
    *,
    has_image: bool,
    generated: int,
    scales: tuple[float, ...],
    scene: bool = False,
) -> None:
    """Refuses what no image could be sampled with, or what this model cannot do.

    Args:
        inputs: what is said of the input.
        sampling: how to sample.
        requirements: of the model's family.
        has_image: whether an image is given.
        generated: views that are generated.
        scales: of guidance.
        scene: whether a scene is to be made, along a path, and not an object.

    Raises:
        UserError: naming the option and what it may be.
    """
    if requirements.makes == "nothing":
        raise UserError("this model generates nothing that could be sampled")
    least, most = requirements.condition_views
    remade = sampling.reconstruct > 0 or inputs.mask is not None
    if not 0 <= sampling.reconstruct <= 1:
        raise UserError(f"--reconstruct is a share of the noise, above 0 and up to 1, not {sampling.reconstruct}")
    if remade and not requirements.remakes:
        raise UserError("this model was never without a clean view: leave --reconstruct and --mask out")
    if remade and not has_image:
        raise UserError("--reconstruct and --mask are about a picture: give one with --image")
    if sampling.reconstruct and sampling.views is not None:
        raise UserError("--reconstruct makes the given views anew and no others: leave --views out")
    if has_image and most == 0 and not remade:
        instead = "say --reconstruct or --mask, or " if requirements.remakes else ""
        raise UserError(f"this model is shown no image: {instead}leave --image out")
    if not has_image and least > 0:
        raise UserError("this model needs an image: give one with --image")
    if has_image and not scene and "object" not in requirements.domains:
        raise UserError("this model knows scenes only: say where its camera goes, beside the picture, with --path")
    if scene and "scene" not in requirements.domains:
        raise UserError("this model knows objects only: leave --path out")
    if scene and not has_image:
        raise UserError("a path begins where a picture was taken: give the picture with --image")
    if inputs.label is not None and not requirements.labels and sampling.classifier is None:
        raise UserError("this model knows no classes: leave --label out")
    if sampling.classifier is not None and inputs.label is None:
        raise UserError("a classifier pushes towards a class: name one with --label")
    if sampling.classifier is not None and requirements.makes != "images":
        raise UserError("a classifier guides models of images only: leave --classifier out")
    if not math.isfinite(sampling.classifier_scale):
        raise UserError(f"--classifier-scale is a finite number, not {sampling.classifier_scale}")
    if not 0 <= sampling.seed < 2**32:
        raise UserError(f"the seed must be from 0 to {2**32 - 1}, not {sampling.seed}")
    check_elevation(inputs)
    if sampling.views is not None and not requirements.cameras:
        raise UserError("this model generates no posed views: leave --views out")
    if sampling.views is not None and not 1 <= sampling.views <= 64:
        raise UserError(f"the number of views must be from 1 to 64, not {sampling.views}")
    if sampling.lowest_guidance is not None and not requirements.cameras:
        raise UserError("this model generates no posed views, whose guidance could differ: leave --lowest-guidance out")
    if not 0 <= sampling.blob_spread <= 1 or not 0 <= sampling.blob_background <= 1:
        raise UserError("--blob-spread and --blob-background are fractions, from 0 to 1")
    if inputs.prompt is not None and requirements.prompt == "none":
        raise UserError("this model knows no prompts: leave --prompt out")
    if inputs.negative_prompt and requirements.prompt == "none":
        raise UserError("this model knows no prompts: leave --negative-prompt out")
    if inputs.prompt is None and requirements.prompt == "required":
        raise UserError("this model needs a prompt: give one with --prompt")
    generated += has_image * requirements.given_are_made
    if sampling.seed != 0 and not requirements.seeded:
        raise UserError("this model draws nothing: every seed gives the same; leave --seed and --samples out")
    if len(scales) not in (1, generated) or not all(map(math.isfinite, scales)):
        raise UserError(f"guidance is one finite number, or one for each of the {generated} views, not {list(scales)}")
    if any(scale != 1 for scale in scales) and not requirements.guided:
        raise UserError(
            "this model cannot be guided: it was never trained without its condition "
            "(its condition dropout was 0); leave the guidance at 1"
        )
