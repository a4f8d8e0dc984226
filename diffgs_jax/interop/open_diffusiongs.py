"""Checkpoints of Open-DiffusionGS, the published PyTorch implementation of DiffusionGS."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffgs_jax.errors import DataError
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


def import_open_diffusiongs(
    tensors: Mapping[str, np.ndarray], *, domain: Domain, head_dim: int = 64
) -> tuple[DiffusionGSConfig, dict[str, Any]]:
    """Turns a published state dict into a config and parameters.

    The config is read off the shapes; what shapes cannot tell is published as: `object` with RPPC rays and the
    reference-point law, reach 1.8; `scene` with Plücker rays and the near–far law, 0 to 500. A published checkpoint
    has the decoder of one domain only, so the config has too.

    Args:
        tensors: the state dict, as numpy arrays under its published names (of the denoiser alone, prefix removed).
        domain: what the checkpoint was trained for.
        head_dim: features of an attention head; published networks have 64.

    Raises:
        DataError: listing every tensor that is missing, unknown or of the wrong shape.
    """
    config = _infer_config(tensors, domain, head_dim)
    expected = _expected_shapes(config.network)
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in expected]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in tensors and _without_leading_ones(tensors[name].shape, len(shape)) != shape
    ]
    if problems:
        raise DataError(f"not an Open-DiffusionGS {domain} checkpoint: {'; '.join(problems)}")
    params: dict[str, Any] = {}
    for theirs, ours, rule in MAPPING:
        names = [theirs.format(i=i) for i in range(config.network.layers if "stack" in rule else 1)]
        arrays = [np.asarray(tensors[name], np.float32).reshape(expected[name]) for name in names]
        arrays = [array.T for array in arrays] if "linear" in rule else arrays
        *path, leaf = ours.format(domain=domain).split(".")
        place = params
        for key in path:
            place = place.setdefault(key, {})
        place[leaf] = np.stack(arrays) if "stack" in rule else np.ascontiguousarray(arrays[0])
    return config, params


def _infer_config(tensors: Mapping[str, np.ndarray], domain: Domain, head_dim: int) -> DiffusionGSConfig:
    """Reads sizes off the four tensors that determine them all."""
    sizes = {
        "gaussians_pos_embedding": 2,
        "image_tokenizer.1.weight": 2,
        "upsampler.linear.weight": 2,
        "transformer.0.mlp.fc1.weight": 2,
    }
    bad = [name for name, rank in sizes.items() if name not in tensors or tensors[name].ndim < rank]
    if bad:
        raise DataError(f"not an Open-DiffusionGS {domain} checkpoint: {', '.join(bad)} missing or without its axes")
    free, width = tensors["gaussians_pos_embedding"].shape[-2:]
    patch_size = math.isqrt(tensors["image_tokenizer.1.weight"].shape[1] // _CHANNELS)
    coefficients = (tensors["upsampler.linear.weight"].shape[0] - 11) // 3
    if width % head_dim:
        raise DataError(f"gaussians_pos_embedding: heads of {head_dim} features do not divide the width {width}")
    network = NetworkConfig(
        width=width,
        layers=len({name.split(".")[1] for name in tensors if name.startswith("transformer.")}),
        heads=width // head_dim,
        mlp_ratio=tensors["transformer.0.mlp.fc1.weight"].shape[0] // width,
        patch_size=patch_size,
        stride=1,
        free_gaussians=free,
        sh_degree=max(math.isqrt(max(coefficients, 1)) - 1, 0),
        domains=(domain,),
        ray_embedding="rppc" if domain == "object" else "plucker",
        modulation="block",
        condition_channel=False,
        initialization="published",
    )
    return DiffusionGSConfig(network=network, gaussians=GaussianConfig())


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
