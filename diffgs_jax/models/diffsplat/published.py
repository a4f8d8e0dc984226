"""The weights of published networks under their published names (diffusers'), and back.

Each of our leaves is made of one published tensor, or of one of every block where it is a stack, by a rule that can be
turned round. Tensors are read one at a time, so that a model takes little more memory than its own weights.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from diffgs_jax.models.bundles import Params
from diffgs_jax.models.diffsplat.config import (
    DiffSplatConfig,
    MMDiTConfig,
    PixArtConfig,
    input_channels,
    network_settings,
)
from diffgs_jax.models.diffsplat.mmdit import block_groups
from diffgs_jax.models.diffsplat.network import param_shapes
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.layers.latent_unet.published import UNET_NAMES
from diffgs_jax.weights import Naming, Tensors, read_params

Rule = Literal[
    "same",
    "linear",  # [outputs, inputs]
    "flat",  # a table [signals, width] is one row
    "patches",  # a convolution [width, channels, p, p] is a matrix
    "convolution",  # that of a UNet's input
    "grid",  # a table [1, side · side, width] is [side, side, width]
]
_TABLE = "pos_embed.pos_embed"
_OWN = (r"^denoiser\.", "")


class Entry(NamedTuple):
    """How one of our leaves is called and stored elsewhere.

    Attributes:
        ours: its path, joined by dots.
        theirs: published names, one of each block for a stack.
        rule: how theirs becomes ours.
        stacked: whether ours has a leading layer axis.
    """

    ours: str
    theirs: tuple[str, ...]
    rule: Rule
    stacked: bool


def published_entries(config: PixArtConfig | MMDiTConfig) -> list[Entry]:
    """Returns how every leaf of a network is published."""
    return _pixart_entries(config) if isinstance(config, PixArtConfig) else _mmdit_entries(config)


def naming(config: DiffSplatConfig) -> Naming:
    """Returns how the weights of a config's network are called in the tensors that `adapted` gives."""
    settings = network_settings(config)
    if isinstance(settings, LatentUNetConfig):
        return UNET_NAMES._replace(replacements=(_OWN, *UNET_NAMES.replacements))
    group = r"(\.\d+)" if isinstance(settings, MMDiTConfig) else r"()"
    return Naming(replacements=(_OWN, (rf"^blocks{group}\.", r"blocks\1.{i}.")))


def adapted(config: DiffSplatConfig, tensors: Tensors) -> Tensors:
    """Returns published weights as `naming` wants them, each changed when it is read.

    A network that reads more channels than the published one gets zeros for those that are new: the rays of a model
    that goes on from an image model, the mask of one that is shown a view. What is no weight of the network keeps its
    name, so that it is found out.

    Args:
        config: of the model.
        tensors: under their published names.
    """
    settings, inputs = network_settings(config), input_channels(config)
    shapes, places = dict(tensors.shapes), dict[str, tuple[str, Rule]]()

    def put(name: str, source: str, rule: Rule) -> None:
        if source in tensors.shapes:
            shapes.pop(source, None)
            places[name] = source, rule
            shapes[name] = _shape(tensors.shapes[source], rule, inputs)

    if isinstance(settings, LatentUNetConfig):
        put("conv_in.weight", "conv_in.weight", "convolution")
    else:
        for entry in published_entries(settings):
            module, _, leaf = entry.ours.rpartition(".")
            for layer, source in enumerate(entry.theirs):
                name = naming(config).published((*module.split("."), leaf)).replace("{i}", str(layer))
                put(name, source, entry.rule)
        shapes.pop(_TABLE, None)  # of positions, where it follows from the settings

    def read(name: str) -> np.ndarray:
        source, rule = places.get(name, (name, "same"))
        return _changed(tensors[source], rule, inputs)

    return Tensors(shapes, read, tensors.source)


def read_published(
    config: DiffSplatConfig, tensors: Tensors, *, dtype: Any = np.float32
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Yields the weights of a published network and their paths, each read when it is its turn.

    Args:
        config: of the model.
        tensors: under their published names.
        dtype: of the weights.

    Raises:
        DataError: listing tensors that are missing, unknown or of another shape; or one that is not finite.
    """
    yield from read_params(param_shapes(config), naming(config), adapted(config, tensors), dtype=dtype)


def to_published(config: PixArtConfig | MMDiTConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """Yields a network's weights under their published names, one at a time."""
    for entry in published_entries(config):
        leaf = np.asarray(_at(params, entry.ours))
        for name, layer in zip(entry.theirs, leaf if entry.stacked else leaf[None], strict=True):
            yield name, _given(layer, entry.rule, config.patch_size, config.heads * config.head_width)


def _at(tree: Params, path: str) -> Any:
    for key in path.split("."):
        tree = tree[key]
    return tree


def _shape(shape: tuple[int, ...], rule: Rule, inputs: int) -> tuple[int, ...]:
    """Returns the shape that a tensor will have; its own where it is not what the rule is of."""
    match rule, shape:
        case "convolution", (width, channels, height, columns) if channels <= inputs:
            return width, inputs, height, columns
        case "patches", (width, channels, height, columns) if channels <= inputs:
            return width, height * columns * inputs
        case "flat", (signals, width):
            return (signals * width,)
        case "grid", (1, cells, width) if math.isqrt(cells) ** 2 == cells:
            return math.isqrt(cells), math.isqrt(cells), width
    return shape


def _changed(tensor: np.ndarray, rule: Rule, inputs: int) -> np.ndarray:
    if rule in ("convolution", "patches") and tensor.ndim == 4 and tensor.shape[1] <= inputs:
        tensor = np.pad(tensor, ((0, 0), (0, inputs - tensor.shape[1]), (0, 0), (0, 0)))
        return tensor if rule == "convolution" else tensor.transpose(0, 2, 3, 1).reshape(len(tensor), -1)
    return tensor.reshape(_shape(tensor.shape, rule, inputs))


def _given(leaf: np.ndarray, rule: Rule, patch_size: int, width: int) -> np.ndarray:
    """Returns one of our leaves, or a layer of it, in the published form."""
    match rule:
        case "linear":
            return leaf.T
        case "patches":
            return leaf.reshape(patch_size, patch_size, -1, leaf.shape[-1]).transpose(3, 2, 0, 1)
        case "grid":
            return leaf.reshape(1, -1, leaf.shape[-1])
        case "flat":
            return leaf.reshape(-1, width)
        case _:
            return leaf


def _linear(ours: str, theirs: list[str] | str, stacked: bool = False) -> list[Entry]:
    names = [theirs] if isinstance(theirs, str) else theirs
    return [
        Entry(f"{ours}.kernel", tuple(f"{name}.weight" for name in names), "linear", stacked),
        Entry(f"{ours}.bias", tuple(f"{name}.bias" for name in names), "same", stacked),
    ]


def _mlp(ours: str, theirs: str, first: str = "linear_1", second: str = "linear_2") -> list[Entry]:
    return _linear(f"{ours}.hidden", f"{theirs}.{first}") + _linear(f"{ours}.output", f"{theirs}.{second}")


def _patches() -> list[Entry]:
    return [
        Entry("patches.kernel", ("pos_embed.proj.weight",), "patches", False),
        Entry("patches.bias", ("pos_embed.proj.bias",), "same", False),
    ]


# Ours and theirs, of one block
_PIXART_BLOCK = {
    **{
        f"attention.{ours}": f"attn1.{theirs}"
        for ours, theirs in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"))
    },
    "attention.output": "attn1.to_out.0",
    **{
        f"cross_attention.{ours}": f"attn2.{theirs}"
        for ours, theirs in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"))
    },
    "cross_attention.output": "attn2.to_out.0",
    "mlp.hidden": "ff.net.0.proj",
    "mlp.output": "ff.net.2",
}


def _pixart_entries(config: PixArtConfig) -> list[Entry]:
    blocks = [f"transformer_blocks.{number}" for number in range(config.layers)]
    entries = _patches()
    entries += _mlp("timestep", "adaln_single.emb.timestep_embedder")
    entries += _linear("modulation", "adaln_single.linear")
    entries += _mlp("text", "caption_projection")
    tables = tuple(f"{block}.scale_shift_table" for block in blocks)
    entries.append(Entry("blocks.modulation.offset", tables, "flat", True))
    for ours, theirs in _PIXART_BLOCK.items():
        entries += _linear(f"blocks.{ours}", [f"{block}.{theirs}" for block in blocks], stacked=True)
    entries.append(Entry("final_modulation.offset", ("scale_shift_table",), "flat", False))
    return entries + _linear("output", "proj_out")


def _mmdit_entries(config: MMDiTConfig) -> list[Entry]:
    entries = _patches()
    if config.position_table == "stored":
        entries.append(Entry("positions.table", (_TABLE,), "grid", False))
    entries += _mlp("timestep", "time_text_embed.timestep_embedder")
    entries += _mlp("pooled", "time_text_embed.text_embedder")
    entries += _linear("text", "context_embedder")
    first = 0
    for number, (count, dual, last) in enumerate(block_groups(config)):
        blocks = [f"transformer_blocks.{first + layer}" for layer in range(count)]
        first += count
        for ours, theirs in _mmdit_block(dual, last).items():
            entries += _linear(f"blocks.{number}.{ours}", [f"{block}.{theirs}" for block in blocks], stacked=True)
        for ours, theirs in _mmdit_norms(dual).items() if config.qk_norm else ():
            names = tuple(f"{block}.{theirs}.weight" for block in blocks)
            entries.append(Entry(f"blocks.{number}.{ours}.scale", names, "same", True))
    return entries + _linear("final_modulation", "norm_out.linear") + _linear("output", "proj_out")


def _mmdit_block(dual: bool, last: bool) -> dict[str, str]:
    """Returns our and the published names of a block's linear layers."""
    names = {"modulation": "norm1.linear", "text_modulation": "norm1_context.linear"}
    for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v")):
        names[f"attention.{ours}"] = f"attn.to_{theirs}"
        names[f"text_attention.{ours}"] = f"attn.add_{theirs}_proj"
        if dual:
            names[f"dual_attention.{ours}"] = f"attn2.to_{theirs}"
    names["attention.output"] = "attn.to_out.0"
    if dual:
        names["dual_attention.output"] = "attn2.to_out.0"
    streams = {"mlp": "ff"}
    if not last:
        names["text_attention.output"] = "attn.to_add_out"
        streams["text_mlp"] = "ff_context"
    for ours, theirs in streams.items():
        names |= {f"{ours}.hidden": f"{theirs}.net.0.proj", f"{ours}.output": f"{theirs}.net.2"}
    return names


def _mmdit_norms(dual: bool) -> dict[str, str]:
    """Returns our and the published names of the norms of a block's heads."""
    names = {}
    for one in ("query", "key"):
        names[f"attention.{one}_norm"] = f"attn.norm_{one[0]}"
        names[f"text_attention.{one}_norm"] = f"attn.norm_added_{one[0]}"
        if dual:
            names[f"dual_attention.{one}_norm"] = f"attn2.norm_{one[0]}"
    return names
