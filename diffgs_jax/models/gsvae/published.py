"""Published autoencoders, DiffSplat's GSVAE and the image autoencoders of diffusers: which tensor becomes what.

A GSVAE has diffusers' names after `vae.` and the tiny decoder's after `tiny_decoder.`; a folder of diffusers has the
first alone, without the prefix, and a config.json beside.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import UserError
from diffgs_jax.models.gsvae.config import AutoencoderConfig, GSVAEConfig, TinyDecoderConfig
from diffgs_jax.weights import Naming, Tensors
from diffgs_jax.weights.adapting import Adapted, adapt

FACTORS = {"sd": (0.18215, 0.0), "sdxl": (0.13025, 0.0), "sd3": (1.5305, 0.0609)}
"""Scale and shift of latents, by the base model."""

_PREFIX, _TINY = "vae.", "tiny_decoder."
_FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_MOST = 100  # levels, blocks: whatever a file may name its tensors


def recognizes(names: Collection[str]) -> bool:
    """Tells whether a state dict is an autoencoder's, by its names."""
    return any(f"{prefix}encoder.down_blocks.0.resnets.0.conv1.weight" in names for prefix in ("", _PREFIX))


def adapted(tensors: Tensors, *, channels: int | None = None) -> Tensors:
    """Returns the state dict as `naming` wants it: with the GSVAE's prefixes, and attention's three products as one.

    Args:
        tensors: the state dict.
        channels: of what shall be encoded, a multiple of what is: the first and last convolutions are repeated along
            inputs and outputs (Lin et al. 2025: 12 from 3). None leaves them.

    Raises:
        UserError: if the channels are no multiple.
    """
    shapes, changes = tensors.shapes, {}
    prefix = "" if any(name.startswith(_PREFIX) for name in shapes) else _PREFIX
    for name, shape in shapes.items():
        renamed = name if name.startswith(_TINY) else f"{prefix}{name}"
        parts = renamed.split(".")
        if ".attentions." in renamed and parts[-2] in _FORMER:
            renamed = ".".join([*parts[:-2], _FORMER[parts[-2]], parts[-1]])
        if renamed != name:
            changes[renamed] = Adapted((name,), shape, _same)
    tensors = adapt(tensors, changes)
    shapes, changes = tensors.shapes, {}
    for name, shape in shapes.items():
        if match := re.fullmatch(r"(.*attentions\.\d+\.)to_q\.(weight|bias)", name):
            three = tuple(f"{match[1]}to_{one}.{match[2]}" for one in "qkv")
            if all(shapes.get(one) == shape for one in three):
                joined = (3 * shape[0], *shape[1:])
                changes[f"{match[1]}to_qkv.{match[2]}"] = Adapted(three, joined, lambda *a: np.concatenate(a))
    if channels is not None:
        changes |= _tiled(shapes, channels)
    return adapt(tensors, changes)


def _tiled(shapes: Mapping[str, tuple[int, ...]], channels: int) -> dict[str, Adapted]:
    """Returns the first and last convolutions for more channels, each repeated as it is."""
    ends = [("vae.encoder.conv_in.weight", 1), ("vae.decoder.conv_out.weight", 0), ("vae.decoder.conv_out.bias", 0)]
    tiny = [int(match[1]) for name in shapes if (match := re.match(r"tiny_decoder\.layers\.(\d+)\.", name))]
    ends += [(f"tiny_decoder.layers.{max(tiny)}.{kind}", 0) for kind in ("weight", "bias")] if tiny else []
    changes = {}
    for name, axis in ends:
        shape = shapes.get(name, ())
        if axis >= len(shape) or shape[axis] < 1:
            continue
        if channels % shape[axis]:
            raise UserError(f"{channels} channels are no multiple of the {shape[axis]} of the published network")
        times = channels // shape[axis]
        tiled = tuple(size * times if number == axis else size for number, size in enumerate(shape))
        changes[name] = Adapted((name,), tiled, _repeater(times, axis))
    return changes


def _repeater(times: int, axis: int) -> Any:
    def repeat(array: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return np.concatenate([array] * times, axis=axis)

    return repeat


def _same(array: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return array


def read_config(
    shapes: Mapping[str, tuple[int, ...]],
    described: Mapping[str, Any] | None = None,
    *,
    base: str | None = None,
    groups: int | None = None,
) -> GSVAEConfig:
    """Reads settings off the shapes of an `adapted` state dict; what is missing is taken as published.

    Args:
        shapes: of the tensors, by name.
        described: of the config.json beside the weights, if there is one: groups of norms, factors of latents.
        base: the model whose latents these are (`FACTORS`), if nothing says the factors; by the number of latents'
            channels and the published folders otherwise.
        groups: of norms, if nothing says them.
    """
    described = described or {}

    def size(name: str, axis: int, published: int) -> int:
        shape = shapes.get(name, ())
        return max(shape[axis], 1) if axis < len(shape) else published

    def count(pattern: str, published: int) -> int:
        numbers = [int(match[1]) for name in shapes if (match := re.match(pattern, name))]
        return min(max(numbers) + 1, _MOST) if numbers else published

    levels = count(r"vae\.encoder\.down_blocks\.(\d+)\.", 4)
    first = "vae.encoder.down_blocks.{}.resnets.0.conv1.weight"
    latents = max(size("vae.encoder.conv_out.weight", 0, 8) // 2, 1)
    tiny = size("tiny_decoder.layers.0.weight", 0, 0)
    factors = FACTORS[base or ("sd3" if latents == 16 else "sd")]
    return GSVAEConfig(
        network=AutoencoderConfig(
            channels=size("vae.encoder.conv_in.weight", 1, 12),
            latents=latents,
            widths=tuple(size(first.format(level), 0, 512) for level in range(levels)),
            blocks=count(r"vae\.encoder\.down_blocks\.0\.resnets\.(\d+)\.", 2),
            groups=_number(described, "norm_num_groups", groups or 32),
            projections="vae.quant_conv.weight" in shapes,
        ),
        tiny=TinyDecoderConfig(width=tiny, blocks=max(_tiny_blocks(shapes), 1)),
        scaling_factor=float(_number(described, "scaling_factor", factors[0])),
        shift_factor=float(_number(described, "shift_factor", factors[1])),
    )


def _number(described: Mapping[str, Any], name: str, default: Any) -> Any:
    value = described.get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _tiny_blocks(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Returns how many blocks follow the tiny decoder's first convolution and its ReLU."""
    found = 0
    while f"tiny_decoder.layers.{2 + found}.conv.0.weight" in shapes and found < _MOST:
        found += 1
    return found


def naming(config: GSVAEConfig) -> Naming:
    """Returns how parameters are called in a state dict that went through `adapted`."""
    levels = len(config.network.widths)
    rules = [(r"^autoencoder\.(encoder|decoder)\.", r"vae.\1.")]
    rules += [(r"^vae\.encoder\.levels\.", "vae.encoder.down_blocks.")]
    rules += [
        (rf"^vae\.decoder\.levels\.{level}\.", f"vae.decoder.up_blocks.{levels - 1 - level}.")
        for level in range(levels)
    ]
    rules += [
        (r"^vae\.encoder\.projection$", "vae.quant_conv"),
        (r"^vae\.decoder\.projection$", "vae.post_quant_conv"),
        (r"^(vae\..*)\.middle\.blocks\.0\.", r"\1.mid_block.resnets.0."),
        (r"^(vae\..*)\.middle\.blocks\.2\.", r"\1.mid_block.resnets.1."),
        (r"^(vae\..*)\.middle\.blocks\.1\.norm$", r"\1.mid_block.attentions.0.group_norm"),
        (r"^(vae\..*)\.middle\.blocks\.1\.attention\.qkv$", r"\1.mid_block.attentions.0.to_qkv"),
        (r"^(vae\..*)\.middle\.blocks\.1\.attention\.projection$", r"\1.mid_block.attentions.0.to_out.0"),
        (r"^(vae\..*_blocks\.\d+)\.blocks\.", r"\1.resnets."),
        (r"^(vae\.encoder\..*)\.resample\.convolution$", r"\1.downsamplers.0.conv"),
        (r"^(vae\.decoder\..*)\.resample\.convolution$", r"\1.upsamplers.0.conv"),
        (r"^(vae\..*)\.convolution(\d)$", r"\1.conv\2"),
        (r"^(vae\..*)\.skip$", r"\1.conv_shortcut"),
        (r"^(vae\.\w+)\.input$", r"\1.conv_in"),
        (r"^(vae\.\w+)\.output$", r"\1.conv_out"),
        (r"^(vae\.\w+)\.norm$", r"\1.conv_norm_out"),
    ]
    # The tiny decoder's layers are counted through, its activations and repetitions too
    blocks = config.tiny.blocks
    for level in range(levels):
        start = 2 + level * (blocks + 2)
        for block in range(blocks if level < levels - 1 else 1):
            for convolution in range(3):
                ours = rf"^tiny_decoder\.levels\.{level}\.blocks\.{block}\.convolution{convolution + 1}$"
                rules.append((ours, f"tiny_decoder.layers.{start + block}.conv.{2 * convolution}"))
        rules.append(
            (rf"^tiny_decoder\.levels\.{level}\.resample\.convolution$", f"tiny_decoder.layers.{start + blocks + 1}")
        )
    rules.append((r"^tiny_decoder\.input$", "tiny_decoder.layers.0"))
    rules.append((r"^tiny_decoder\.output$", f"tiny_decoder.layers.{3 + (levels - 1) * (blocks + 2)}"))
    return Naming(rules)
