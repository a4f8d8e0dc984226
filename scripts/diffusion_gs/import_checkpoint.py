r"""Turns a published Open-DiffusionGS checkpoint into one of this library.

    python scripts/diffusion_gs/import_checkpoint.py --in obj_ckpt_512.ckpt --out models/object \
        --cameras camera_template.pt
    python scripts/diffusion_gs/import_checkpoint.py --in scene_ckpt_256.ckpt --out models/scene
    python -m diffgs_jax.sample --image chair.png --checkpoint models/object --out chair

Reads `.ckpt` and `.pt` without PyTorch and without running what they say, and `.safetensors`. The checkpoint's config
has the published cameras, sampler and framing; whether it is a model of objects or of scenes is read off the file.
"""

import dataclasses
import pathlib
import re
from typing import Annotated, Literal

import jax
import tyro

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import SamplingConfig, TrainConfig, check, to_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import DataConfig
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import new_folder
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig
from diffgs_jax.models.diffusion_gs.published import import_open_diffusiongs
from diffgs_jax.models.diffusion_gs.published_files import PUBLISHED_RIG, read_camera_template, read_open_diffusiongs

_SAMPLING = SamplingConfig(sampler="ddpm", steps=30, foreground_ratio=0.825, filter=0.0)


@dataclasses.dataclass(frozen=True)
class ImportConfig:
    """What to import and where to."""

    input: Annotated[pathlib.Path, tyro.conf.arg(name="in")]
    """The published file: .ckpt, .pt or .safetensors."""
    out: pathlib.Path
    """Folder to create."""
    domain: Literal["object", "scene"] | None = None
    """Refuse the file if it holds a model of the other domain; either is taken by default."""
    resolution: int | None = None
    """Height and width of the views it was trained on; by default the 512 or 256 in the file's name, or else 256."""
    cameras: pathlib.Path | None = None
    """The published `camera_template.pt` of an object model; without it, cameras are those of its training data."""
    prefix: str | None = None
    """What comes before the names of the weights, if the file holds several networks."""
    head_dim: int = 64
    """Features of an attention head; the file does not say."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the transformer computes in; bfloat16 also asks for attention by cuDNN, for GPUs."""
    overwrite: bool = False
    """Replace `out` if it exists."""


def main(config: ImportConfig) -> None:
    """Runs the command line."""
    with new_folder(config.out, overwrite=config.overwrite, hint="add --overwrite to replace it") as folder:
        settings, weights, found = convert(config)
        counters = {"samples": 0, "seconds": 0.0}  # of training by this library
        metadata = {"config": to_dict(settings), "counters": counters, "imported_from": config.input.name}
        save_weights(folder, 0, weights, metadata, compress=False)
    size = sum(leaf.size for leaf in jax.tree.leaves(weights))
    assert isinstance(settings.model, DiffusionGSConfig)
    network = settings.model.network
    print(
        f"{config.out}: {network.domains[0]} model of {network.layers} layers of width {network.width}, "
        f"{size / 1e6:.1f} million weights from {found}, {settings.data.resolution} pixels"
    )


def convert(config: ImportConfig) -> tuple[TrainConfig, dict, str]:
    """Returns the settings, the weights, and where in the file they were.

    Raises:
        UserError: if a path or an option is wrong.
        DataError: if the file cannot be used.
    """
    if config.resolution is not None and config.resolution < 1:
        raise UserError(f"the resolution is 1 pixel or more, not {config.resolution}")
    rig = PUBLISHED_RIG if config.cameras is None else read_camera_template(config.cameras)
    published = read_open_diffusiongs(config.input, prefix=config.prefix)
    try:
        model, weights = import_open_diffusiongs(published.tensors, domain=config.domain, head_dim=config.head_dim)
    except DataError as error:
        raise DataError(f"{config.input}: {error}") from None
    domain = model.network.domains[0]
    if domain == "scene" and config.cameras is not None:
        raise UserError("--cameras are an object model's; a scene is seen from cameras of its own")
    attention = "cudnn" if config.dtype == "bfloat16" else "xla"
    network = dataclasses.replace(model.network, dtype=config.dtype, attention=attention)
    in_name = re.findall(r"(?<!\d)(?:256|512)(?!\d)", config.input.name)
    resolution = config.resolution or int(in_name[-1] if in_name else 256)
    settings = TrainConfig(
        model=dataclasses.replace(model, network=network),
        data=DataConfig(resolution=resolution, scene_frame="mean_camera"),
        rig=rig,
        sampling=_SAMPLING,
    )
    return check(settings), weights, f"{published.prefix}* ({published.others} other tensors left out)"


if __name__ == "__main__":
    with report_errors():
        main(parse_options(ImportConfig, description=__doc__))
