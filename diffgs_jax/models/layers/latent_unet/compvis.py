"""U-Nets of the first Stable Diffusion's training code, seen by the names of diffusers.

There the blocks of the way down are counted through, `input_blocks.0` being the first convolution, and so are those of
the way up; parts of a residual block are numbers in a sequence. Transformers have the same names in both.
"""

import re
from collections.abc import Mapping

import numpy as np

from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.weights import Tensors
from diffgs_jax.weights.adapting import Adapted, adapt

_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}


def as_diffusers(tensors: Tensors) -> Tensors:
    """Returns the state dict of `UNetModel` as `UNet2DConditionModel` has it; names that say nothing here stay."""
    spans = _blocks_of_a_level(tensors.shapes)
    changes = {}
    for name, shape in tensors.shapes.items():
        module, _, kind = name.rpartition(".")
        changes[f"{_renamed(module, spans)}.{kind}"] = Adapted((name,), shape, _same)
    return adapt(tensors, changes)


def compvis_unet_config(shapes: Mapping[str, tuple[int, ...]]) -> LatentUNetConfig:
    """Reads settings off the shapes of what `as_diffusers` made; heads and groups are those of Stable Diffusion 1.

    Args:
        shapes: of the tensors, by name. What is missing is taken as published.
    """
    usual = LatentUNetConfig()

    def size(name: str, axis: int, published: int) -> int:
        shape = shapes.get(name, ())
        return shape[axis] if axis < len(shape) else published

    def count(pattern: str, published: int) -> int:
        numbers = [int(match[1]) for name in shapes if (match := re.match(pattern, name))]
        return max(numbers, default=published - 1) + 1

    levels = count(r"down_blocks\.(\d{1,2})\.", len(usual.channels))
    channels = tuple(size(f"down_blocks.{level}.resnets.0.conv1.weight", 0, 1280) for level in range(levels))
    depths = tuple(
        count(rf"down_blocks\.{level}\.attentions\.0\.transformer_blocks\.(\d{{1,2}})\.", 0) for level in range(levels)
    )
    return LatentUNetConfig(
        inputs=size("conv_in.weight", 1, usual.inputs),
        outputs=size("conv_out.weight", 0, usual.outputs),
        channels=channels,
        blocks=count(r"down_blocks\.0\.resnets\.(\d{1,2})\.", usual.blocks),
        depths=depths,
        middle_depth=count(r"mid_block\.attentions\.0\.transformer_blocks\.(\d{1,2})\.", 1),
        heads=usual.heads[:1] * levels,
        text_width=size("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1, usual.text_width),
    )


def _blocks_of_a_level(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Returns how many numbers a level has on the way down: its residual blocks, and what leads to the next one."""
    leads = [int(match[1]) for name in shapes if (match := re.match(r"input_blocks\.(\d{1,3})\.0\.op\.", name))]
    return min(leads, default=3)


def _renamed(module: str, span: int) -> str:
    if module in _ENDS:
        return _ENDS[module]
    if match := re.match(r"middle_block\.([012])\.(.*)", module):
        return f"mid_block.{_MIDDLE[match[1]]}.{_inside(match[2])}"
    if match := re.match(r"input_blocks\.(\d{1,3})\.([01])\.(.*)", module):
        level, block = divmod(int(match[1]) - 1, span)
        if match[3] == "op":
            return f"down_blocks.{level}.downsamplers.0.conv"
        kind = "attentions" if match[2] == "1" else "resnets"
        return f"down_blocks.{level}.{kind}.{block}.{_inside(match[3])}"
    if match := re.match(r"output_blocks\.(\d{1,3})\.([012])\.(.*)", module):
        level, block = divmod(int(match[1]), span)
        if match[3] == "conv":
            return f"up_blocks.{level}.upsamplers.0.conv"
        kind = "attentions" if match[2] == "1" else "resnets"
        return f"up_blocks.{level}.{kind}.{block}.{_inside(match[3])}"
    return module


def _inside(module: str) -> str:
    return _RESIDUAL.get(module, module)


def _same(array: np.ndarray) -> np.ndarray:
    return array
