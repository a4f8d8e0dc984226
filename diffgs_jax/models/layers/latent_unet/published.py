"""Latent U-Nets and ControlNets as they are published: folders of the diffusers library, `config.json` and weights."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import json_object, load_json, shown
from diffgs_jax.models.layers.latent_unet.config import ControlNetConfig, LatentUNetConfig
from diffgs_jax.models.layers.latent_unet.controlnet import controlnet_shapes
from diffgs_jax.models.layers.latent_unet.network import latent_unet_shapes
from diffgs_jax.weights import Naming, Tensors, nested, open_tensors, read_params

_BLOCKS = (
    (r"^encoder\.input$", "conv_in"),
    (r"^encoder\.timestep\.hidden$", "time_embedding.linear_1"),
    (r"^encoder\.timestep\.output$", "time_embedding.linear_2"),
    (r"^encoder\.added\.hidden$", "add_embedding.linear_1"),
    (r"^encoder\.added\.output$", "add_embedding.linear_2"),
    (r"^encoder\.down\.", "down_blocks."),
    (r"^encoder\.middle\.", "mid_block."),
    (r"^up\.", "up_blocks."),
    (r"\.residuals\.", ".resnets."),
    (r"\.convolution(\d)$", r".conv\1"),
    (r"\.condition$", ".time_emb_proj"),
    (r"\.skip$", ".conv_shortcut"),
    (r"^(down_blocks.*)\.resample\.convolution$", r"\1.downsamplers.0.conv"),
    (r"^(up_blocks.*)\.resample\.convolution$", r"\1.upsamplers.0.conv"),
    (r"\.transformers\.", ".attentions."),
    (r"(\.attentions\.\d+)\.input$", r"\1.proj_in"),
    (r"(\.attentions\.\d+)\.output$", r"\1.proj_out"),
    (r"(\.attentions\.\d+)\.blocks\.", r"\1.transformer_blocks.{i}."),
    (r"\.attention\.", ".attn1."),
    (r"\.text_attention\.", ".attn2."),
    (r"\.(query|key|value)$", lambda match: f".to_{match[1][0]}"),
    (r"\.projection$", ".to_out.0"),
    (r"(\.transformer_blocks\.\{i\})\.hidden$", r"\1.ff.net.0.proj"),
    (r"(\.transformer_blocks\.\{i\})\.output$", r"\1.ff.net.2"),
)
_POINTWISE = r"\.conv_shortcut$|^controlnet_(down_blocks\.\d+|mid_block)$"
_POINTWISE_PROJECTIONS = r"\.proj_(in|out)$"

UNET_NAMES = Naming(
    replacements=((r"^norm$", "conv_norm_out"), (r"^output$", "conv_out"), *_BLOCKS),
    pointwise=f"{_POINTWISE}|{_POINTWISE_PROJECTIONS}",
)
"""Names of `UNet2DConditionModel`, as Stable Diffusion 1.5 has them; those of 2.1 and XL differ in shapes only."""

CONTROLNET_NAMES = Naming(
    replacements=(
        (r"^picture\.input$", "controlnet_cond_embedding.conv_in"),
        (r"^picture\.output$", "controlnet_cond_embedding.conv_out"),
        (r"^picture\.blocks\.", "controlnet_cond_embedding.blocks."),
        (r"^down\.", "controlnet_down_blocks."),
        (r"^middle$", "controlnet_mid_block"),
        *_BLOCKS,
    ),
    pointwise=UNET_NAMES.pointwise,
)
"""Names of `ControlNetModel`."""

# What a published network must say, where it says anything, because nothing else is built here.
_FIXED: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu",),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", "UNetMidBlockMV2DCrossAttn"),
    "norm_eps": (1e-5,),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
_SIZES = 6


def latent_unet_config(settings: Mapping[str, Any]) -> LatentUNetConfig:
    """Reads the `config.json` of a `UNet2DConditionModel`, or of DiffSplat's `UNetMV2DConditionModel`.

    Args:
        settings: what it says; what it does not say is as diffusers has it.

    Raises:
        DataError: if it describes another network, naming the setting.
    """
    other = [name for name, values in _FIXED.items() if name in settings and settings[name] not in values]
    if other:
        value = shown(str(settings[other[0]]))
        raise DataError(f"a U-Net with {other[0]} = {value} is not known, only {_FIXED[other[0]][0]!r}")
    channels = _numbers(settings, "block_out_channels", (320, 640, 1280, 1280), None)
    levels = len(channels)
    down = settings.get("down_block_types", ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"])
    if not isinstance(down, Sequence) or len(down) != levels:
        raise DataError("a U-Net whose down_block_types are not one for each level")
    kinds = {"CrossAttnDownBlock2D": 1, "CrossAttnDownBlockMV2D": 1, "DownBlock2D": 0}
    if not set(map(str, down)) <= set(kinds):
        raise DataError(f"a U-Net with blocks other than {', '.join(kinds)}")
    mirrored = [str(kind).replace("Down", "Up") for kind in reversed(down)]
    if settings.get("up_block_types", mirrored) != mirrored:
        raise DataError("a U-Net whose up_block_types do not mirror its down_block_types")
    depths = _numbers(settings, "transformer_layers_per_block", 1, levels)
    added = settings.get("addition_embed_type")
    if added not in (None, "text_time"):
        raise DataError(f"a U-Net with addition_embed_type = {shown(str(added))} is not known")
    size = _number(settings, "addition_time_embed_dim", 256) if added else 0
    told = _number(settings, "projection_class_embeddings_input_dim", 2816) if added else 0
    return LatentUNetConfig(
        inputs=_number(settings, "in_channels", 4),
        outputs=_number(settings, "out_channels", 4),
        channels=channels,
        blocks=_number(settings, "layers_per_block", 2),
        depths=tuple(depth * kinds[str(kind)] for depth, kind in zip(depths, down, strict=True)),
        middle_depth=depths[-1],
        heads=_numbers(
            settings, "attention_head_dim", 8, levels
        ),  # in diffusers the number of heads, whatever its name
        groups=_number(settings, "norm_num_groups", 32),
        text_width=_number(settings, "cross_attention_dim", 1280),
        size_features=size,
        pooled_width=told - _SIZES * size,
    )


def load_latent_unet(
    folder: pathlib.Path, *, dtype: Any = np.float32, variant: str = ""
) -> tuple[LatentUNetConfig, dict[str, Any]]:
    """Reads a U-Net from a folder like Stable Diffusion's `unet` or DiffSplat's `unet_ema`.

    Args:
        folder: with `config.json` and weights (see `open_tensors`).
        dtype: of the parameters.
        variant: of the weights, for example `fp16`.

    Raises:
        UserError: if there is no such folder or file.
        DataError: if it holds another network, or not all of it.
    """
    file = folder / "config.json"
    config = latent_unet_config(json_object(load_json(file), shown(file)))
    tensors = open_tensors(folder, variant=variant)
    return config, nested(read_params(latent_unet_shapes(config), UNET_NAMES, tensors, dtype=dtype))


def load_controlnet(
    path: pathlib.Path, unet: LatentUNetConfig, *, dtype: Any = np.float32
) -> tuple[ControlNetConfig, dict[str, Any]]:
    """Reads the ControlNet of a U-Net from a folder or a file.

    Its shape comes from the U-Net and the weights, because the `config.json` of DiffSplat's ControlNets describes
    another one.

    Args:
        path: a folder like DiffSplat's `controlnet`, or a file in it.
        unet: the network that it is for. A ControlNet may read fewer channels.
        dtype: of the parameters.

    Raises:
        UserError: if there is no such folder or file.
        DataError: if it is the ControlNet of another U-Net, or not all of one.
    """
    tensors = open_tensors(path)
    config = controlnet_config(unet, tensors)
    return config, nested(read_params(controlnet_shapes(config), CONTROLNET_NAMES, tensors, dtype=dtype))


def controlnet_config(unet: LatentUNetConfig, tensors: Tensors) -> ControlNetConfig:
    """Reads off the weights what the U-Net does not say of its ControlNet.

    Raises:
        DataError: if they are no ControlNet's.
    """

    def shape(name: str) -> tuple[int, ...]:
        found = tensors.shapes.get(f"{name}.weight", ())
        if len(found) != 4:
            raise DataError(f"{tensors.source} is no ControlNet: it has no {name}.weight")
        return found

    picture = "controlnet_cond_embedding"
    first, latents = shape(f"{picture}.conv_in"), shape("conv_in")
    numbers = [int(match[1]) for name in tensors if (match := re.match(rf"{picture}\.blocks\.(\d{{1,3}})\.", name))]
    widths = [shape(f"{picture}.blocks.{number}")[0] for number in range(1, max(numbers, default=-1) + 1, 2)]
    return ControlNetConfig(
        unet=dataclasses.replace(unet, inputs=latents[1]),
        picture_channels=first[1],
        picture_widths=(first[0], *widths),
    )


def _number(settings: Mapping[str, Any], name: str, default: int) -> int:
    value = settings.get(name, default)
    if type(value) is not int or value < 1:
        raise DataError(f"a U-Net with {name} = {shown(str(value))} is not known")
    return value


def _numbers(
    settings: Mapping[str, Any], name: str, default: int | tuple[int, ...], count: int | None
) -> tuple[int, ...]:
    """Returns one number for each level; `count` levels share one that stands alone."""
    value = settings.get(name, default)
    values = [value] * count if type(value) is int and count else value
    if not isinstance(values, Sequence) or not all(type(one) is int and 0 < one < 2**20 for one in values):
        raise DataError(f"a U-Net with {name} = {shown(str(value))} is not known")
    if not values or count not in (None, len(values)):
        raise DataError(f"a U-Net whose {name} are not one for each level")
    return tuple(values)
