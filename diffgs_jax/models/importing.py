"""What passes between whoever imports published weights and the families that know them."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import load_json, shown
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models.bundles import ModelConfig
from diffgs_jax.weights import Naming, Tensors, open_tensors, read_params

_ITERATIONS = "checkpoints"  # where published folders have one folder for each iteration
_INDEX = "model_index.json"  # what the models of a folder of diffusers are
_LISTED = 8  # names in a message


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a file does not say of the network that it holds; each family takes some of these."""

    domain: Literal["object", "scene"] | None = None
    """Open-DiffusionGS: refuse the file if it holds a model of the other domain; either is taken by default."""
    resolution: int | None = None
    """Open-DiffusionGS: height and width of the views it was trained on; by default the 512 or 256 in the file's name,
    or else 256."""
    cameras: pathlib.Path | None = None
    """Open-DiffusionGS: the published `camera_template.pt` of an object model; without it, cameras are those of its
    training data."""
    prefix: str | None = None
    """Open-DiffusionGS: what comes before the names of the weights, if the file holds several networks."""
    head_dim: int = 64
    """Transformers: features of an attention head; the file does not say."""
    channels: int | None = None
    """Autoencoders: channels of what shall be encoded; 12 repeats the ends of an image autoencoder four times."""
    base: Literal["sd", "sdxl", "sd3"] | None = None
    """Autoencoders: the base model, which scale and shift of latents belong to. By default what the folder's
    config.json says, or else its name and the channels of the latents."""
    groups: int | None = None
    """Autoencoders: groups of the norms, if they are not 32 and no config.json says it."""
    backbone: Literal["sd15", "sd21", "sdxl", "pixart_alpha", "pixart_sigma", "sd3m", "sd35m", "sd35l"] | None = None
    """Denoisers: the base model, if its config.json does not decide: `pixart_alpha`, which is built like PixArt-Σ."""
    with_image: bool = False
    """Denoisers: make a model that is shown a view, of one that is not."""
    reconstructor: str = ""
    """Denoisers: checkpoint of the reconstructor that says what splat grids mean."""
    vae: str = ""
    """Denoisers: checkpoint of the VAE of splat grids."""
    image_vae: str = ""
    """Denoisers: checkpoint of the VAE of images, for models that are shown a view."""
    prompts: str = ""
    """Denoisers: file of stored prompts."""
    steered: str = ""
    """ControlNets: checkpoint of the denoiser that it steers, which says what it is built like."""
    picture: Literal["depth", "normal", "canny"] | None = None
    """ControlNets: what its pictures show, if the name of the folder does not say it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the network computes in; bfloat16 also asks for attention by cuDNN, where there is a choice."""


class PublishedWeights(NamedTuple):
    """What is to be imported.

    Attributes:
        path: the file or folder.
        tensors: the state dict, read when asked; None for a torch file, of which a family must say what to leave out.
        described: of the config.json beside it, empty if there is none.
    """

    path: pathlib.Path
    tensors: Tensors | None
    described: Mapping[str, Any]


class ImportedModel(NamedTuple):
    """What becomes of it.

    Attributes:
        config: the model's settings.
        shapes: nested dictionary with an object of every weight's `shape`.
        read: makes the float32 array of a path; it is asked once for each, in the order of `jax.tree.leaves`.
        words: what it is and where it comes from, for people.
        data: settings of `DataConfig` that go with it.
        sampling: settings of `SamplingConfig` that go with it.
        rig: the cameras it was trained with; None for the usual ones.
    """

    config: ModelConfig
    shapes: Mapping[str, Any]
    read: Callable[[tuple[str, ...]], Float[np.ndarray, "..."]]
    words: str
    data: Mapping[str, Any]
    sampling: Mapping[str, Any] = {}  # noqa: RUF012 (a NamedTuple's default, never written to)
    rig: ObjectRig | None = None


def open_published(path: pathlib.Path) -> PublishedWeights:
    """Opens published weights: a file, a folder of weights, or a published folder with one for each iteration.

    Of a folder of diffusers with several models (`model_index.json`) all are opened at once: their tensors have the
    model's folder and a slash before their names, and its `config.json` is described under the folder's name, like that
    of the `scheduler`.

    Raises:
        UserError: if there is no such file or folder.
        DataError: if it is damaged, or a folder without weights.
    """
    if not path.is_dir():
        is_one = path.suffix == ".safetensors" and path.is_file()
        return PublishedWeights(path, open_tensors(path) if is_one else None, {})
    if (path / _INDEX).is_file():
        return _open_pipeline(path)
    folder = path
    if (path / _ITERATIONS).is_dir():
        numbered = [inner for inner in (path / _ITERATIONS).iterdir() if inner.is_dir() and inner.name.isdecimal()]
        if not numbered:
            raise DataError(f"{shown(path / _ITERATIONS)} has no folder of an iteration")
        folder = max(numbered, key=lambda inner: int(inner.name))
    described = folder / "config.json"
    fields = load_json(described) if described.is_file() else {}
    return PublishedWeights(path, open_tensors(folder), fields if isinstance(fields, dict) else {})


def _open_pipeline(path: pathlib.Path) -> PublishedWeights:
    parts = {}
    for folder in sorted(inner for inner in path.iterdir() if (inner / "config.json").is_file()):
        parts[folder.name] = (open_tensors(folder), load_json(folder / "config.json"))
    shapes = {f"{part}/{name}": shape for part, (tensors, _) in parts.items() for name, shape in tensors.shapes.items()}

    def read(name: str) -> np.ndarray:
        part, _, inner = name.partition("/")
        return parts[part][0][inner]

    described = {part: fields for part, (_, fields) in parts.items() if isinstance(fields, dict)}
    if (scheduler := path / "scheduler" / "scheduler_config.json").is_file():
        described["scheduler"] = load_json(scheduler)
    return PublishedWeights(path, Tensors(shapes, read, shown(path)), described)


def refuse_other_options(options: ImportOptions, known: Collection[str], path: pathlib.Path) -> None:
    """Refuses options that say nothing of what a file holds.

    Raises:
        UserError: naming the first.
    """
    for field in dataclasses.fields(ImportOptions):
        if field.name not in {*known, "dtype"} and getattr(options, field.name) != field.default:
            raise UserError(f"--{field.name.replace('_', '-')} says nothing of what {shown(path)} holds")


def tensor_reader(
    shapes: Mapping[str, Any], naming: Naming, tensors: Tensors
) -> Callable[[tuple[str, ...]], Float[np.ndarray, "..."]]:
    """Returns the `read` of an `ImportedModel`, after everything was looked at once, tensor by tensor.

    Args:
        shapes: nested dictionary with an object of every weight's `shape`.
        naming: how they are called.
        tensors: the state dict.

    Raises:
        DataError: listing tensors that are missing, unknown, of another shape or not finite.
    """
    items = read_params(shapes, naming, tensors)
    made = dict([next(items)])  # names and shapes are compared before the first is yielded
    names = [name for name in tensors if not re.search(naming.left_out, name)]
    wrong = [name for name in names if not np.isfinite(np.asarray(tensors[name], np.float32)).all()]
    if wrong:
        more = f" and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise DataError(f"{tensors.source}: {', '.join(map(shown, wrong[:_LISTED]))}{more} not finite")

    def read(path: tuple[str, ...]) -> np.ndarray:
        while path not in made:  # whoever asks follows the same order: nothing is kept for long
            made.update([next(items)])
        return made.pop(path)

    return read
