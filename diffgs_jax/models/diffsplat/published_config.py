"""What a published denoiser's `config.json` and tensors say of its settings."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import shown
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models.diffsplat.config import (
    Backbone,
    DiffSplatConfig,
    FrozenConfig,
    LatentConfig,
    MMDiTConfig,
    PixArtConfig,
)
from diffgs_jax.models.diffsplat.network import param_shapes
from diffgs_jax.models.diffsplat.presets import (
    PUBLISHED_DISTANCE,
    PUBLISHED_ELEVATION,
    PUBLISHED_FOV,
    published_diffsplat,
    published_sampling,
)
from diffgs_jax.models.diffsplat.published import adapted, naming
from diffgs_jax.models.importing import (
    ImportedModel,
    ImportOptions,
    PublishedWeights,
    refuse_other_options,
    tensor_reader,
)
from diffgs_jax.models.layers.latent_unet.published import latent_unet_config
from diffgs_jax.models.layers.positions import grid_positions
from diffgs_jax.weights import Tensors

_OPTIONS = ("backbone", "with_image", "reconstructor", "vae", "image_vae", "prompts")
_NETWORKS = ("unet", "pixart", "mmdit")
_RAYS, _MASK = 6, 1
_LATENTS = 32  # of views of 256 pixels, which all published models of splats are of
_SD21_TEXT = 1024  # features of its text encoder
_CLOSE = 1e-4

# What a published network must say, where it says anything, because nothing else is built here.
_PIXART = {
    "activation_fn": ("gelu-approximate",),
    "attention_bias": (True,),
    "norm_elementwise_affine": (False,),
    "norm_type": ("ada_norm_single",),
    "use_additional_conditions": (False, None),
}
_MMDIT = {"qk_norm": (None, "rms_norm")}


def recognizes(source: PublishedWeights) -> bool:
    """Tells by the names of tensors whether they are a denoiser's: PixArt's, an MMDiT's or a latent UNet's."""
    names = source.tensors or ()
    transformer = "pos_embed.proj.weight" in names and "transformer_blocks.0.ff.net.2.weight" in names
    return transformer or {"conv_in.weight", "time_embedding.linear_1.weight", "conv_norm_out.weight"} <= set(names)


def import_published(source: PublishedWeights, options: ImportOptions) -> ImportedModel:
    """Returns a published denoiser, or an image model's as the start of one.

    Raises:
        UserError: if an option is wrong, or says nothing of these weights.
        DataError: if the weights are others, listing everything that is wrong with them.
    """
    assert source.tensors is not None
    refuse_other_options(options, _OPTIONS, source.path)
    config = read_config(
        source.described,
        source.tensors,
        backbone=options.backbone,
        image=options.with_image or None,
        prompts=options.prompts,
        frozen=FrozenConfig(options.reconstructor, options.vae, options.image_vae),
    )
    networks = {name: dataclasses.replace(getattr(config, name), dtype=options.dtype) for name in _NETWORKS}
    config = dataclasses.replace(config, **networks)
    given, shapes = int(config.image.encoder != "none"), param_shapes(config)
    usual = published_sampling(config.backbone, image=bool(given))
    return ImportedModel(
        config,
        shapes,
        tensor_reader(shapes, naming(config), adapted(config, source.tensors)),
        f"denoiser of splats of the base {config.backbone}{', shown a view,' if given else ''} from "
        f"{source.tensors.source}",
        {"resolution": 256, "condition_views": given, "noisy_views": 4 - given, "novel_views": 4},
        {"sampler": usual.sampler, "steps": usual.steps, "guidance": (usual.guidance,), "filter": 0.0},
        ObjectRig(PUBLISHED_ELEVATION, PUBLISHED_DISTANCE, PUBLISHED_FOV, (0.0, 90.0, 180.0, 270.0)[given:]),
    )


def read_config(
    described: Mapping[str, Any],
    tensors: Tensors,
    *,
    backbone: Backbone | None = None,
    image: bool | None = None,
    prompts: str = "",
    frozen: FrozenConfig = FrozenConfig(),  # noqa: B008 (frozen)
) -> DiffSplatConfig:
    """Returns the settings of a published denoiser, or of one that goes on from an image model.

    Args:
        described: what its `config.json` says.
        tensors: its weights; only a table of positions is read.
        backbone: the base model; read off the settings by default, PixArt-Σ where it might be PixArt-α.
        image: whether the model shall be shown a view; by default whether it reads a mask.
        prompts: file of stored prompts.
        frozen: checkpoints of the other models that it uses.

    Raises:
        DataError: if the settings are those of another network.
        UserError: if it is of another base model, or cannot be as asked for.
    """
    if not described:
        raise UserError("a denoiser needs its config.json: name the folder that has it beside the weights")
    if "conv_in.weight" in tensors.shapes:
        unet = latent_unet_config(described)
        found: Backbone = "sdxl" if unet.pooled_width else "sd21" if unet.text_width == _SD21_TEXT else "sd15"
        networks: dict[str, Any] = {"unet": unet}
        channels = unet.outputs
    elif "context_embedder.weight" in tensors.shapes:
        mmdit = _mmdit(described, tensors)
        found = "sd3m" if not mmdit.qk_norm else "sd35m" if mmdit.dual_layers else "sd35l"
        networks, channels = {"mmdit": mmdit}, _number(described, "out_channels", 16)
    else:
        found, networks = "pixart_sigma", {"pixart": _pixart(described)}
        channels = _number(described, "out_channels", 8) // 2
    kin = {found} | ({"pixart_alpha"} if found == "pixart_sigma" else set())
    if backbone is not None and backbone not in kin:
        raise UserError(f"these are the weights of {found}, not of {backbone}")
    inputs = _number(described, "in_channels", channels)
    if inputs not in (channels, channels + _RAYS, channels + _RAYS + _MASK):
        raise DataError(f"a denoiser that reads {inputs} channels for latents of {channels} is not known")
    if image is False and inputs == channels + _RAYS + _MASK:
        raise UserError("this denoiser was trained to be shown a view, and cannot do without the channel for it")
    shown_view = inputs == channels + _RAYS + _MASK if image is None else image
    config = published_diffsplat(backbone or found, image=shown_view, prompts=prompts, frozen=frozen)
    return dataclasses.replace(config, **networks, latents=LatentConfig(channels=channels))


def _pixart(described: Mapping[str, Any]) -> PixArtConfig:
    _check(described, _PIXART)
    patch, size = _number(described, "patch_size", 2), _number(described, "sample_size", 64)
    scale = described.get("interpolation_scale")
    return PixArtConfig(
        layers=_number(described, "num_layers", 28),
        heads=_number(described, "num_attention_heads", 16),
        head_width=_number(described, "attention_head_dim", 72),
        patch_size=patch,
        text_width=_number(described, "caption_channels", 4096),
        # Models of splats are made for their own latents, whatever the image model was made for
        position_base=(_LATENTS if size >= _LATENTS else size) // patch,
        position_scale=float(max(size // 64, 1) if scale is None else scale),
    )


def _mmdit(described: Mapping[str, Any], tensors: Tensors) -> MMDiTConfig:
    _check(described, _MMDIT)
    dual = described.get("dual_attention_layers") or ()
    if list(dual) != list(range(len(dual))):
        raise DataError(f"an MMDiT whose dual_attention_layers {shown(str(list(dual)))} are not its first is not known")
    config = MMDiTConfig(
        layers=_number(described, "num_layers", 18),
        heads=_number(described, "num_attention_heads", 18),
        head_width=_number(described, "attention_head_dim", 64),
        patch_size=_number(described, "patch_size", 2),
        text_width=_number(described, "joint_attention_dim", 4096),
        pooled_width=_number(described, "pooled_projection_dim", 2048),
        qk_norm=described.get("qk_norm") == "rms_norm",
        dual_layers=len(dual),
        position_side=_number(described, "pos_embed_max_size", 96),
    )
    return _with_positions(config, tensors)


def _with_positions(config: MMDiTConfig, tensors: Tensors) -> MMDiTConfig:
    """Returns the settings with what the stored table of positions is: one that follows from a number, or its own."""
    table = np.asarray(tensors["pos_embed.pos_embed"], np.float32) if "pos_embed.pos_embed" in tensors.shapes else None
    side, width = config.position_side, config.heads * config.head_width
    if table is None or table.shape != (1, side * side, width):
        raise DataError(f"{tensors.source} has no table of positions of {side} × {side} tokens")
    # The first feature is the sine of the column's coordinate, that of the second column base / side
    base = max(round(side * math.asin(float(np.clip(table[0, 1, 0], -1.0, 1.0)))), 1)
    places = np.arange(side) * base / side
    if np.abs(grid_positions(width, places, places).reshape(table.shape) - table).max() < _CLOSE:
        return dataclasses.replace(config, position_base=base)
    return dataclasses.replace(config, position_table="stored")


def _check(described: Mapping[str, Any], fixed: Mapping[str, tuple[Any, ...]]) -> None:
    for name, values in fixed.items():
        if name in described and described[name] not in values:
            raise DataError(f"a denoiser with {name} = {shown(str(described[name]))} is not known, only {values[0]!r}")


def _number(described: Mapping[str, Any], name: str, usual: int) -> int:
    value = described.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 20:
        raise DataError(f"{name} = {shown(str(value))} is no size of a network")
    return value
