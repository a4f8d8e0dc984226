"""Stable Diffusion 1 and 2 as diffusers publishes them: a folder with a folder for each of its networks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from diffgs_jax.diffusion import PredictionType, ScheduleConfig
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import shown
from diffgs_jax.models.importing import (
    ImportedModel,
    ImportOptions,
    PublishedWeights,
    refuse_other_options,
    tensor_reader,
)
from diffgs_jax.models.layers.latent_unet.network import latent_unet_shapes
from diffgs_jax.models.layers.latent_unet.published import UNET_NAMES, latent_unet_config
from diffgs_jax.models.stable_diffusion.config import StableDiffusionConfig
from diffgs_jax.weights.adapting import below

_LATENTS = 64  # pixels along a side of the latents that versions 1 and 2 were trained at, if no file says it
_PREDICTIONS: dict[str, PredictionType] = {"epsilon": "epsilon", "v_prediction": "v"}


def recognizes(source: PublishedWeights) -> bool:
    """Tells whether this is a folder of diffusers with a U-Net and a text encoder of CLIP."""
    names = source.tensors or ()
    return "unet/conv_in.weight" in names and any(name.startswith("text_encoder/text_model.") for name in names)


def import_published(source: PublishedWeights, options: ImportOptions) -> ImportedModel:
    """Returns the published model. Its text encoder is read from the folder whenever the model is loaded.

    Raises:
        UserError: if an option is wrong, or says nothing of these weights.
        DataError: if the weights are others, listing everything that is wrong with them.
    """
    assert source.tensors is not None
    refuse_other_options(options, {"image_vae"}, source.path)
    if not options.image_vae:
        raise UserError(
            "Stable Diffusion diffuses latents of its autoencoder: import its folder vae and name it with --image-vae"
        )
    described = _part(source, "unet")
    unet = dataclasses.replace(
        latent_unet_config(described), dtype=options.dtype, attention="cudnn" if options.dtype == "bfloat16" else "xla"
    )
    if unet.size_features or unet.inputs != unet.outputs:
        raise DataError(f"{shown(source.path)} holds SDXL or a network that is shown more than latents, not SD 1 or 2")
    steps = source.described.get("scheduler", {})
    schedule, prediction = _schedule(steps if isinstance(steps, Mapping) else {})
    vae = source.described.get("vae", {})
    levels = vae.get("block_out_channels") if isinstance(vae, Mapping) else None
    downsampling = 2 ** (len(levels) - 1) if isinstance(levels, list) and 0 < len(levels) < 10 else 8
    side = described.get("sample_size", _LATENTS)
    resolution = downsampling * (side if isinstance(side, int) and 0 < side < 1024 else _LATENTS)
    config = StableDiffusionConfig(
        unet=unet,
        autoencoder=options.image_vae,
        downsampling=downsampling,
        text=str(source.path.resolve()),
        schedule=schedule,
        prediction=prediction,
    )
    shapes = {"unet": latent_unet_shapes(unet)}
    read = tensor_reader(shapes["unet"], UNET_NAMES, below(source.tensors, "unet/"))
    return ImportedModel(
        config,
        shapes,
        lambda path: read(path[1:]),
        f"Stable Diffusion, {resolution} pixels, predicting {prediction}, from {shown(source.path)}",
        {"resolution": resolution, "condition_views": 0, "noisy_views": 1, "novel_views": 0},
        {"sampler": "ddim", "steps": 50, "guidance": (7.5,)},
    )


def _part(source: PublishedWeights, name: str) -> Mapping[str, Any]:
    found = source.described.get(name)
    if not isinstance(found, Mapping):
        raise DataError(f"{shown(source.path)} has no {name}/config.json")
    return found


def _schedule(described: Mapping[str, Any]) -> tuple[ScheduleConfig, PredictionType]:
    """Reads `scheduler_config.json`; what it does not say is as in Stable Diffusion 1.

    Raises:
        DataError: if it describes another schedule or prediction.
    """
    usual = StableDiffusionConfig().schedule
    name = described.get("beta_schedule", usual.name)
    kind = described.get("prediction_type", "epsilon")
    if name not in ("scaled_linear", "linear") or kind not in _PREDICTIONS:
        raise DataError(f"a schedule {shown(str(name))} that predicts {shown(str(kind))} is not known")
    numbers = [described.get(f"beta_{end}", getattr(usual, f"beta_{end}")) for end in ("start", "end")]
    steps = described.get("num_train_timesteps", 1000)
    if not all(isinstance(one, float) and 0 < one < 1 for one in numbers) or not isinstance(steps, int):
        raise DataError(f"a schedule with beta_start and beta_end {shown(str(numbers))} is not known")
    return ScheduleConfig(name=name, steps=steps, beta_start=numbers[0], beta_end=numbers[1]), _PREDICTIONS[kind]
