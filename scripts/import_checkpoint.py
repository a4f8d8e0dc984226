r"""Turns published weights into a checkpoint of this library, whatever the model: what it is, is read off the file.

    python scripts/import_checkpoint.py --in obj_ckpt_512.ckpt --out models/object --cameras camera_template.pt
    python scripts/import_checkpoint.py --in scene_ckpt_256.ckpt --out models/scene
    python scripts/import_checkpoint.py --in DiffSplat/elevest_gobj265k_b_C25 --out models/elevest
    python scripts/import_checkpoint.py --in DiffSplat/gsrecon_gobj265k_cnp_even4 --out models/gsrecon
    python scripts/import_checkpoint.py --in DiffSplat/gsvae_gobj265k_sd --out models/gsvae
    python scripts/import_checkpoint.py --in stable-diffusion-v1-5/vae --out models/image_vae
    python scripts/import_checkpoint.py --in DiffSplat/gsdiff_gobj83k_sd15/checkpoints/013020/unet_ema \
        --out models/sd15 --reconstructor models/gsrecon --vae models/gsvae --prompts prompts.npz
    python scripts/import_checkpoint.py --in stable-diffusion-v1-5 --out models/sd15_images --image-vae models/image_vae
    python scripts/import_checkpoint.py --in zero123-xl.ckpt --out models/zero123 --image-vae models/image_vae

Reads `.ckpt` and `.pt` without PyTorch and without running what they say, `.safetensors`, and folders: of DiffSplat's
published models, of which the last iteration is taken, and of autoencoders and denoisers of diffusers (`--channels 12`
makes the start of a GSVAE of such an autoencoder; such a denoiser is the start of one of splats). The checkpoint's
config has the published settings.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

import tyro

from diffgs_jax.checkpoints import save_streamed
from diffgs_jax.config import SamplingConfig, TrainConfig, to_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import DataConfig
from diffgs_jax.errors import DataError, report_errors
from diffgs_jax.files import new_folder, shown
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models import Imports, families
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.importing import ImportedModel, ImportOptions, open_published


@dataclasses.dataclass(frozen=True)
class ImportConfig(ImportOptions):
    """What to import and where to."""

    input: Annotated[pathlib.Path, tyro.conf.arg(name="in")]
    """The published file (.ckpt, .pt or .safetensors) or folder."""
    out: pathlib.Path
    """Folder to create."""
    overwrite: bool = False
    """Replace `out` if it exists."""


def main(config: ImportConfig) -> None:
    """Runs the command line."""
    with new_folder(config.out, overwrite=config.overwrite, hint="add --overwrite to replace it") as folder:
        settings, model = convert(config)
        counters = {"samples": 0, "seconds": 0.0}  # of training by this library
        metadata = {"config": to_dict(settings), "counters": counters, "imported_from": config.input.name}
        save_streamed(folder, 0, _plain(model.shapes), model.read, metadata)
    print(f"{config.out}: {model.words}, {parameter_count(model.shapes) / 1e6:.1f} million weights")


def convert(config: ImportConfig) -> tuple[TrainConfig, ImportedModel]:
    """Returns the settings of the checkpoint, and its weights to be read.

    Raises:
        UserError: if a path or an option is wrong.
        DataError: if the file cannot be used.
    """
    source = open_published(config.input)
    # A torch file may be of several; those that were added later look closer
    for module in reversed(families().values()):
        if isinstance(module, Imports) and module.recognizes(source):
            model = module.import_published(source, config)
            settings = TrainConfig(
                model=model.config,
                data=DataConfig(**model.data),
                rig=model.rig or ObjectRig(),
                sampling=SamplingConfig(**model.sampling),
            )
            return settings, model
    names = list(source.tensors or ())
    listed = f"{len(names)} tensors, {', '.join(map(shown, names[:3]))} among them"
    raise DataError(f"{shown(config.input)} holds no model that can be imported: {listed}")


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(leaf) if isinstance(leaf, Mapping) else leaf for name, leaf in tree.items()}


if __name__ == "__main__":
    with report_errors():
        main(parse_options(ImportConfig, description=__doc__))
