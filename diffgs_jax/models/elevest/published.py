"""DiffSplat's published ElevEst: what its tensors are called, and what they become.

Its angles are of the other sign, negative above the object. Intervals are turned around here, once, so that ours are
positive: the published interval k from the lowest is ours from the highest, and its offset from below ours from above.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from diffgs_jax.errors import UserError
from diffgs_jax.models.elevest.config import ElevEstConfig, VisionConfig
from diffgs_jax.weights import Naming, Tensors
from diffgs_jax.weights.adapting import Adapted, adapt

NAMING = Naming(
    replacements=(
        (r"^backbone\.blocks\.", "backbone.blocks.{i}."),
        (r"attention\.qkv$", "attn.qkv"),
        (r"attention\.projection$", "attn.proj"),
        (r"mlp\.hidden$", "mlp.fc1"),
        (r"mlp\.output$", "mlp.fc2"),
        (r"\.scale(\d)$", r".ls\1"),
        (r"\.patches$", ".patch_embed.proj"),
        (r"\.class_token$", ".cls_token"),
        (r"\.class_position$", ".pos_embed.class"),
        (r"\.positions$", ".pos_embed.patches"),
        (r"\.registers$", ".register_tokens"),
        (r"^class_head\.", "cls_head."),
        (r"head\.hidden$", "head.0"),
        (r"head\.output$", "head.2"),
    ),
    left_out=r"^lower_bounds$",  # of the intervals, which the settings say
)
"""How parameters are called in a state dict that went through `adapted`."""

_MOST_LAYERS = 1000  # whatever a file may name its tensors
_SIZE = 2.0  # of an interval, degrees
_HEAD_DIM = 64  # of DINOv2 in all sizes; the file does not say
_HIGHEST = 40.0  # degrees above the object, where the published intervals begin as −40


def recognizes(names: Collection[str]) -> bool:
    """Tells whether a state dict is an ElevEst's, by its names."""
    return "cls_head.2.weight" in names and any(name.startswith("backbone.blocks.") for name in names)


def adapted(tensors: Tensors) -> Tensors:
    """Returns the state dict as `NAMING` wants it, each tensor changed when it is read.

    Tokens lose their axes of size 1, the position of the class token and those of the patches are parted, the patches'
    convolution becomes a product, and the heads count from the other end.
    """
    shapes, changes = tensors.shapes, {}

    def put(name: str, source: str, rank: int, shape: Callable[[tuple[int, ...]], Any], make: Any) -> None:
        if len(shapes.get(source, ())) == rank:  # what is odd stays, and is told by whoever compares
            changes[name] = Adapted((source,), shape(shapes[source]), make)

    def same(anything: Any) -> Any:
        return anything

    for name in shapes:
        if name.endswith(".gamma"):
            put(f"{name.removesuffix('gamma')}weight", name, 1, same, same)
    token, mask, registers = (f"backbone.{name}" for name in ("cls_token", "mask_token", "register_tokens"))
    put(f"{token}.weight", token, 3, lambda s: s[-1:], lambda a: a.reshape(a.shape[-1]))
    put(f"{mask}.weight", mask, 2, lambda s: s[-1:], lambda a: a.reshape(a.shape[-1]))
    put(f"{registers}.weight", registers, 3, lambda s: s[-2:], lambda a: a[0])
    positions = "backbone.pos_embed"
    put(f"{positions}.class.weight", positions, 3, lambda s: s[-1:], lambda a: a[0, 0])
    put(f"{positions}.patches.weight", positions, 3, _grid_shape, lambda a: a[0, 1:].reshape(_grid_shape(a.shape)))
    patches = "backbone.patch_embed.proj.weight"
    put(patches, patches, 4, lambda s: (s[0], math.prod(s[1:])), lambda a: a.transpose(0, 2, 3, 1).reshape(len(a), -1))
    put("cls_head.2.weight", "cls_head.2.weight", 2, same, lambda a: a[::-1])
    put("cls_head.2.bias", "cls_head.2.bias", 1, same, lambda a: a[::-1])
    put("offset_head.2.weight", "offset_head.2.weight", 2, same, np.negative)
    put("offset_head.2.bias", "offset_head.2.bias", 1, same, lambda a: _SIZE - a)
    return adapt(tensors, changes)


def read_config(shapes: Mapping[str, tuple[int, ...]], *, head_dim: int = _HEAD_DIM) -> ElevEstConfig:
    """Reads settings off the shapes of an `adapted` state dict; what is missing or odd is taken as published.

    Args:
        shapes: of the tensors, by name.
        head_dim: features of an attention head; DINOv2 has 64 in all sizes.

    Raises:
        UserError: if heads of that size do not divide the width.
    """

    def size(name: str, axis: int, published: int) -> int:
        shape = shapes.get(f"backbone.{name}", ())
        return max(shape[axis], 1) if -len(shape) <= axis < len(shape) else published

    width = size("cls_token.weight", 0, 768)
    if head_dim < 1:
        raise UserError(f"heads have 1 feature or more, not {head_dim}")
    if width % head_dim:
        raise UserError(f"heads of {head_dim} features do not divide the width {width}")
    numbers = [int(match[1]) for name in shapes if (match := re.match(r"backbone\.blocks\.(\d+)\.", name))]
    patch = max(math.isqrt(size("patch_embed.proj.weight", 1, 14 * 14 * 3) // 3), 1)
    intervals = max(*shapes.get("cls_head.2.bias", (25,)), 2)
    return ElevEstConfig(
        network=VisionConfig(
            width=width,
            layers=min(max(numbers, default=11) + 1, _MOST_LAYERS),
            heads=max(width // head_dim, 1),
            mlp_ratio=max(size("blocks.0.mlp.fc1.weight", 0, 4 * width) // width, 1),
            patch_size=patch,
            position_grid=size("pos_embed.patches.weight", 0, 37),
            registers=size("register_tokens.weight", 0, 4),
        ),
        resolution=16 * patch,
        lowest=_HIGHEST - _SIZE * intervals,
        highest=_HIGHEST,
        intervals=intervals,
    )


def _grid_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of the patches' positions, square; another one where they are no square."""
    side = math.isqrt(max(shape[-2] - 1, 0))
    return (side, side, shape[-1]) if side**2 == shape[-2] - 1 else (1, shape[-2] - 1, shape[-1])
