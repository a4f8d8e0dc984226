"""Checkpoints of Open-DiffusionGS, the published PyTorch implementation of DiffusionGS."""

import math
import re
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models.diffusion_gs.config import DiffusionGSConfig, Domain, GaussianConfig, NetworkConfig

# Theirs, ours (`{domain}` filled in), and how theirs becomes ours: `linear` weights are transposed, `stack` ones exist
# once a block (`{i}`) and get a leading layer axis, `tokens` lose leading axes of size 1.
MAPPING: tuple[tuple[str, str, str], ...] = (
    ("image_tokenizer.1.weight", "tokenizer.kernel", "linear"),
    ("gaussians_pos_embedding", "free_tokens", "tokens"),
    ("transformer_input_layernorm.weight", "norm.scale", "same"),
    ("t_embedder.mlp.0.weight", "timestep.hidden.kernel", "linear"),
    ("t_embedder.mlp.0.bias", "timestep.hidden.bias", "same"),
    ("t_embedder.mlp.2.weight", "timestep.output.kernel", "linear"),
    ("t_embedder.mlp.2.bias", "timestep.output.bias", "same"),
    ("transformer.{i}.attn.qkv.weight", "trunk.blocks.attention.qkv.kernel", "stack linear"),
    ("transformer.{i}.attn.qkv.bias", "trunk.blocks.attention.qkv.bias", "stack"),
    ("transformer.{i}.attn.proj.weight", "trunk.blocks.attention.projection.kernel", "stack linear"),
    ("transformer.{i}.attn.proj.bias", "trunk.blocks.attention.projection.bias", "stack"),
    ("transformer.{i}.mlp.fc1.weight", "trunk.blocks.mlp.hidden.kernel", "stack linear"),
    ("transformer.{i}.mlp.fc1.bias", "trunk.blocks.mlp.hidden.bias", "stack"),
    ("transformer.{i}.mlp.fc2.weight", "trunk.blocks.mlp.output.kernel", "stack linear"),
    ("transformer.{i}.mlp.fc2.bias", "trunk.blocks.mlp.output.bias", "stack"),
    ("transformer.{i}.adaLN_modulation.1.weight", "trunk.blocks.modulation.kernel", "stack linear"),
    ("transformer.{i}.adaLN_modulation.1.bias", "trunk.blocks.modulation.bias", "stack"),
    ("upsampler.layernorm.weight", "decoders.{domain}.free.norm.scale", "same"),
    ("upsampler.adaLN_modulation.1.weight", "decoders.{domain}.free.modulation.kernel", "linear"),
    ("upsampler.adaLN_modulation.1.bias", "decoders.{domain}.free.modulation.bias", "same"),
    ("upsampler.linear.weight", "decoders.{domain}.free.projection.kernel", "linear"),
    ("image_token_decoder.layernorm.weight", "decoders.{domain}.patch.norm.scale", "same"),
    ("image_token_decoder.adaLN_modulation.1.weight", "decoders.{domain}.patch.modulation.kernel", "linear"),
    ("image_token_decoder.adaLN_modulation.1.bias", "decoders.{domain}.patch.modulation.bias", "same"),
    ("image_token_decoder.linear.weight", "decoders.{domain}.patch.projection.kernel", "linear"),
)

_CHANNELS = 9  # colour and ray embedding: the published network has no condition flag
_FREQUENCIES = 256
_TOKENS = "gaussians_pos_embedding"
_MOST_LAYERS = 1000  # whatever a file may name its tensors


def import_open_diffusiongs(
    tensors: Mapping[str, np.ndarray], *, domain: Domain | None = None, head_dim: int = 64
) -> tuple[DiffusionGSConfig, dict[str, Any]]:
    """Turns a published state dict into a config and parameters.

    The config is read off the shapes; what shapes cannot tell is published as: `object` with RPPC rays and the
    reference-point law, reach 1.8, in a mirrored world; `scene` with Plücker rays and the near–far law, 0 to 500. A
    published checkpoint has the decoder of one domain only, so the config has too.

    Args:
        tensors: the state dict, as numpy arrays under its published names (of the denoiser alone, prefix removed).
        domain: what the checkpoint was trained for; read off the free tokens' shape by default, which is
            `[n, width]` in object models and `[1, n, width]` in scene models.
        head_dim: features of an attention head; published networks have 64.

    Returns:
        The config, and float32 parameters of their own memory.

    Raises:
        DataError: if the domain is another one, or listing every tensor that is missing, unknown, of the wrong shape
            or not finite.
        UserError: if heads of that size do not divide the width.
    """
    if head_dim < 1:
        raise UserError(f"heads have 1 feature or more, not {head_dim}")
    found = _domain(tensors)
    if domain and found and domain != found:
        raise DataError(f"a scene model is no object model: this one was trained for {found}s, not for {domain}s")
    domain = domain or found or "object"
    network = _infer_network(tensors, domain, head_dim)
    expected = _expected_shapes(network)
    problems = [(name, "is missing") for name in expected if name not in tensors]
    problems += [(name, "is unknown") for name in tensors if name not in expected]
    problems += [
        (name, f"has shape {tuple(tensors[name].shape)} instead of {shape}")
        for name, shape in expected.items()
        if name in tensors and _without_leading_ones(tensors[name].shape, len(shape)) != shape
    ]
    if not problems:
        problems = [(name, "is not finite") for name in expected if not np.isfinite(tensors[name]).all()]
    if problems:
        raise DataError(f"not an Open-DiffusionGS {domain} checkpoint: {'; '.join(_by_block(problems))}")
    if network.width % head_dim:
        raise UserError(f"heads of {head_dim} features do not divide the width {network.width}")
    params: dict[str, Any] = {}
    for theirs, ours, rule in MAPPING:
        names = [theirs.format(i=i) for i in range(network.layers if "stack" in rule else 1)]
        arrays = [np.asarray(tensors[name], np.float32).reshape(expected[name]) for name in names]
        arrays = [array.T for array in arrays] if "linear" in rule else arrays
        *path, leaf = ours.format(domain=domain).split(".")
        place = params
        for key in path:
            place = place.setdefault(key, {})
        place[leaf] = np.stack(arrays) if "stack" in rule else np.array(arrays[0], order="C")
    config = DiffusionGSConfig(network=network, gaussians=GaussianConfig(), mirrored_world=domain == "object")
    return config, params


def _domain(tensors: Mapping[str, np.ndarray]) -> Domain | None:
    domains: dict[int, Domain] = {2: "object", 3: "scene"}
    return domains.get(tensors[_TOKENS].ndim) if _TOKENS in tensors else None


def _infer_network(tensors: Mapping[str, np.ndarray], domain: Domain, head_dim: int) -> NetworkConfig:
    """Reads sizes off the tensors that determine them, and takes published ones where those are missing or odd."""

    def size(name: str, axis: int, published: int) -> int:
        rank = 2  # of all the tensors asked for; the tokens may have more
        return tensors[name].shape[axis] if name in tensors and tensors[name].ndim >= rank else published

    ends = ("layernorm.weight", "linear.weight", "qkv.weight", _TOKENS)
    widths = [array.shape[-1] for name, array in tensors.items() if name.endswith(ends) and array.ndim]
    width = max(statistics.mode(widths), 1) if widths else 1024
    blocks = [int(match[1]) for name in tensors if (match := re.match(r"transformer\.(\d+)\.", name))]
    coefficients = (size("upsampler.linear.weight", 0, 14) - 11) // 3
    return NetworkConfig(
        width=width,
        layers=min(max(blocks, default=-1) + 1, _MOST_LAYERS),
        heads=max(width // head_dim, 1),
        mlp_ratio=max(size("transformer.0.mlp.fc1.weight", 0, 4 * width) // width, 1),
        patch_size=max(math.isqrt(size("image_tokenizer.1.weight", 1, 8 * 8 * _CHANNELS) // _CHANNELS), 1),
        stride=1,
        free_gaussians=size(_TOKENS, -2, 2),
        sh_degree=min(max(math.isqrt(max(coefficients, 1)) - 1, 0), 3),
        domains=(domain,),
        ray_embedding="rppc" if domain == "object" else "plucker",
        modulation="block",
        condition_channel=False,
        initialization="published",
    )


def _by_block(problems: list[tuple[str, str]]) -> list[str]:
    """Returns one line for each problem, or one for all the blocks that share it."""
    blocks: dict[tuple[str, str], list[int]] = {}
    for name, problem in problems:
        match = re.fullmatch(r"transformer\.(\d+)(\..*)", name)
        key = (f"transformer.{{}}{match[2]}" if match else name, problem)
        blocks.setdefault(key, []).extend([int(match[1])] if match else [])
    return [f"{name.replace('{}', _ranges(numbers), 1)} {problem}" for (name, problem), numbers in blocks.items()]


def _ranges(numbers: list[int]) -> str:
    """Returns for example `0-5,7`."""
    ordered, runs = sorted(numbers), []
    for number in ordered:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


def _expected_shapes(network: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Returns the published names and shapes of a network."""
    width, hidden, pixels = network.width, network.mlp_ratio * network.width, network.patch_size**2
    channels = 11 + 3 * (network.sh_degree + 1) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "image_tokenizer.1.weight": (width, pixels * _CHANNELS),
        "gaussians_pos_embedding": (network.free_gaussians, width),
        "transformer_input_layernorm.weight": (width,),
        "t_embedder.mlp.0.weight": (width, _FREQUENCIES),
        "t_embedder.mlp.0.bias": (width,),
        "t_embedder.mlp.2.weight": (width, width),
        "t_embedder.mlp.2.bias": (width,),
    }
    for i in range(network.layers):
        for name, outputs, inputs in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", hidden, width),
            ("mlp.fc2", width, hidden),
            ("adaLN_modulation.1", 6 * width, width),
        ):
            shapes[f"transformer.{i}.{name}.weight"] = (outputs, inputs)
            shapes[f"transformer.{i}.{name}.bias"] = (outputs,)
    for name, features in (("upsampler", channels), ("image_token_decoder", pixels * channels)):
        shapes[f"{name}.layernorm.weight"] = (width,)
        shapes[f"{name}.adaLN_modulation.1.weight"] = (2 * width, width)
        shapes[f"{name}.adaLN_modulation.1.bias"] = (2 * width,)
        shapes[f"{name}.linear.weight"] = (features, width)
    return shapes


def _without_leading_ones(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return tuple(shape)
