"""What can be asked of a trained model, beside the image: the same for Python, command lines and the web page.

Importing it is cheap, so that a command line answers before anything heavy is loaded.
"""

import dataclasses
import pathlib
from typing import Any, Literal

from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError
from diffgs_jax.interop import Matting

Frame = Literal["object", "cameras"]
"""Where a splat is: in the object frame, or in the frame of the cameras that were given."""


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """How something is sampled."""

    steps: int | None = None
    """Denoising steps: more take longer, and the best number depends on the sampler; by default the model's, 30."""
    sampler: SamplerKind | None = None
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published. By default the
    model's, `ddim` unless it was imported."""
    guidance: tuple[float, ...] | None = None
    """Classifier-free guidance: 1 is none, above it the condition counts for more than it does by itself, 0 is the
    model without it. One number, or one for each generated view; by default the model's, 1 for most. Only for models
    trained with condition dropout, as the bundled one was; takes twice the time."""
    lowest_guidance: float | None = None
    """Guidance of the first view, from which it rises to `guidance` at the view opposite and falls again. By default it
    is the same for all views."""
    eta: float | None = None
    """How random `ddim` is, from 0, not at all, to 1, as `ddpm`; by default the model's, 0 for most."""
    classifier: pathlib.Path | None = None
    """Folder of a trained classifier of noisy images that pushes towards `label` (classifier guidance), for models of
    images; they need not know classes themselves."""
    classifier_scale: float = 1.0
    """How hard it pushes; 1 is what probability says, more is surer and less varied."""
    controlnet: tuple[pathlib.Path, ...] = ()
    """Folders of trained ControlNets that steer a diffsplat model with a U-Net, each by a picture (`control`)."""
    control_scale: tuple[float, ...] = (1.0,)
    """How hard ControlNets steer: one number, or one for each; 1 is as in training."""
    control_window: tuple[float, float] = (0.0, 1.0)
    """At which of the steps ControlNets steer: from one fraction of them to another."""
    guess_mode: bool = False
    """Let ControlNets steer the guided half alone, and what is finer count less: for prompts that say nothing."""
    views: int | None = None
    """Views to generate, evenly around the object; more make more Gaussians. By default those the model was trained
    with, 3."""
    filter: bool = True
    """Make what rendering added to every Gaussian in training part of the splat, where the model's config says so:
    nothing is thinner than a pixel of the training views. `--no-filter` gives what the network predicted, which shows
    needles when it is seen larger than in training."""
    blob_spread: float = 0.0
    """Start not from noise alone but from noise over a dark blob on white, the same in every view (Instant3D); this is
    its standard deviation as a fraction of the image's side, 0.1 for example. 0 has none."""
    blob_strength: float = 0.98
    """With a blob: how much is made anew, in (0, 1]; the first steps, which would remove the blob, are left out."""
    blob_background: float = 0.0
    """With a blob: how much darker than white all of the image is, in [0, 1]."""
    reconstruct: float = 0.0
    """Take the picture not for a clean view but for one to generate: noise of this share of the schedule, (0, 1], is
    added to it and taken away again, and the object that it is then a picture of is handed out. More changes more. For
    models that can be asked without a picture. 0 shows the picture as it is."""
    view_guidance: float | None = None
    """How hard given views guide, for models of sets of Gaussians (docs/gsd.md): a step along the gradient of what
    renderings lack to them; 0 leaves them out. By default the model's."""
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
    elevation: float | Literal["estimate"] | None = None
    """How far above the object's horizon the camera was, degrees; `estimate` has a network look at the image. By
    default the model's, 20."""
    elevation_model: pathlib.Path | None = None
    """Checkpoint of the network that `estimate` asks (docs/elevest.md); by default the one that comes with the package,
    if there is one."""
    azimuth: float = 0.0
    """Where around the object the camera was, degrees, for models whose objects all face one way
    (docs/single-views.md); for all others the picture is the front."""
    mask: pathlib.Path | None = None
    """A picture of the same size that is white where the given one is to be made anew, black where it stays (3D-aware
    inpainting); for models that can be asked without a picture."""
    foreground_ratio: float | Literal["model"] | None = "model"
    """The object's larger side over the side of the view the model is shown; `model` takes what the model was trained
    with, None keeps the image's framing."""
    control: tuple[pathlib.Path, ...] = ()
    """What ControlNets are shown: one file for all, or one for each. A control picture, or a splat (`.ply`, `.spz`,
    `.splat`, `.glb`) in the object frame, which is rendered as the first camera sees it."""
    control_from: Literal["map", "picture"] = "map"
    """What images in `control` are: the control picture itself (`map`), or a picture of an object, whose edges are
    found."""
    label: int | None = None
    """Number of the class to make, for models that know classes."""
    prompt: str | None = None
    """What to make, in words, for models that know prompts."""
    negative_prompt: str = ""
    """What to stay away from, in words; it takes the place of no prompt in guidance."""


def with_changes(
    inputs: InputOptions, sampling: SamplingOptions, changes: dict[str, Any]
) -> tuple[InputOptions, SamplingOptions]:
    """Returns the options with single fields changed, wherever they are.

    Raises:
        UserError: if a field is in neither.
    """
    of_inputs = {field.name for field in dataclasses.fields(InputOptions)}
    of_sampling = {field.name for field in dataclasses.fields(SamplingOptions)}
    for name in changes:
        if name not in of_inputs | of_sampling:
            raise UserError(f"there is no option {name}; there are {', '.join(sorted(of_inputs | of_sampling))}")
    if isinstance(changes.get("guidance"), (int, float)):
        changes = changes | {"guidance": (float(changes["guidance"]),)}
    inputs = dataclasses.replace(inputs, **{name: changes[name] for name in changes if name in of_inputs})
    return inputs, dataclasses.replace(sampling, **{name: changes[name] for name in changes if name in of_sampling})
