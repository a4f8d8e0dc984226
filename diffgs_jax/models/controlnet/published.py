"""ControlNets as they are published: folders of diffusers, like DiffSplat's `controlnet`."""

import dataclasses

from diffgs_jax.errors import UserError
from diffgs_jax.files import shown
from diffgs_jax.models.capabilities import TakesControls
from diffgs_jax.models.control_pictures import ControlMap
from diffgs_jax.models.controlnet.config import ControlNetModelConfig
from diffgs_jax.models.family import family
from diffgs_jax.models.importing import (
    ImportedModel,
    ImportOptions,
    PublishedWeights,
    refuse_other_options,
    tensor_reader,
)
from diffgs_jax.models.layers.latent_unet import CONTROLNET_NAMES, controlnet_config, controlnet_shapes
from diffgs_jax.models.stored import stored_config

_OPTIONS = ("steered", "picture")
_PICTURES: tuple[ControlMap, ...] = ("depth", "normal", "canny")


def recognizes(source: PublishedWeights) -> bool:
    """Tells by the names of tensors whether they are a ControlNet's."""
    return "controlnet_cond_embedding.conv_in.weight" in (source.tensors or ())


def import_published(source: PublishedWeights, options: ImportOptions) -> ImportedModel:
    """Returns a published ControlNet.

    Its own config.json is not read: DiffSplat's describe another network than the one they lie beside.

    Raises:
        UserError: if an option is wrong or missing, or says nothing of these weights.
        DataError: if the weights are others, listing everything that is wrong with them.
    """
    assert source.tensors is not None
    refuse_other_options(options, _OPTIONS, source.path)
    if not options.steered:
        raise UserError("a ControlNet is built like the denoiser that it steers: name its checkpoint with --steered")
    named = [name for name in _PICTURES if any(name in part for part in source.path.absolute().parts[-4:])]
    picture = options.picture or (named[0] if len(named) == 1 else None)
    if picture is None:
        raise UserError(f"{shown(source.path)} does not say what its pictures show: say it with --picture")
    base = stored_config(options.steered)
    module = family(base)
    if not isinstance(module, TakesControls):
        raise UserError(f"{options.steered} is no model that a ControlNet steers")
    network = controlnet_config(module.controlled_network(base).unet, source.tensors)
    network = dataclasses.replace(network, unet=dataclasses.replace(network.unet, dtype=options.dtype))
    config, shapes = ControlNetModelConfig(options.steered, picture, network=network), controlnet_shapes(network)
    return ImportedModel(
        config,
        shapes,
        tensor_reader(shapes, CONTROLNET_NAMES, source.tensors),
        f"ControlNet of {picture} pictures from {source.tensors.source}",
        {"resolution": 256, "condition_views": 0, "noisy_views": 4, "novel_views": 0},
    )
