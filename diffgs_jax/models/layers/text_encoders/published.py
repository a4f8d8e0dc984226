"""Text encoders as they are published: folders of the transformers library, with `config.json` and weights."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.files import json_object, load_json, shown
from diffgs_jax.models.layers.text_encoders.clip import clip_shapes
from diffgs_jax.models.layers.text_encoders.config import CLIPTextConfig, T5Config
from diffgs_jax.models.layers.text_encoders.t5 import t5_shapes
from diffgs_jax.weights import Naming, nested, open_tensors, read_params

CLIP_NAMES = Naming(
    replacements=(
        (r"^tokens", "text_model.embeddings.token_embedding"),
        (r"^positions", "text_model.embeddings.position_embedding"),
        (r"^norm$", "text_model.final_layer_norm"),
        (r"^projection$", "text_projection"),
        (r"^blocks\.", "text_model.encoder.layers.{i}."),
        (r"\.norm(\d)$", r".layer_norm\1"),
        (r"\.(query|key|value)$", lambda match: f".self_attn.{match[1][0]}_proj"),
        (r"\.projection$", ".self_attn.out_proj"),
        (r"\.hidden$", ".mlp.fc1"),
        (r"\.output$", ".mlp.fc2"),
    ),
    left_out=r"position_ids$|^text_projection\.weight$",
)
"""Names of `CLIPTextModel` and `CLIPTextModelWithProjection`."""

T5_NAMES = Naming(
    replacements=(
        (r"^ends\.tokens", "shared"),
        (r"^ends\.distances", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"),
        (r"^ends\.norm", "encoder.final_layer_norm"),
        (r"^blocks\.(query|key|value)", lambda match: f"encoder.block.{{i}}.layer.0.SelfAttention.{match[1][0]}"),
        (r"^blocks\.projection", "encoder.block.{i}.layer.0.SelfAttention.o"),
        (r"^blocks\.norm1", "encoder.block.{i}.layer.0.layer_norm"),
        (r"^blocks\.norm2", "encoder.block.{i}.layer.1.layer_norm"),
        (r"^blocks\.gate", "encoder.block.{i}.layer.1.DenseReluDense.wi_0"),
        (r"^blocks\.hidden", "encoder.block.{i}.layer.1.DenseReluDense.wi_1"),
        (r"^blocks\.output", "encoder.block.{i}.layer.1.DenseReluDense.wo"),
    ),
    left_out=r"^encoder\.embed_tokens\.|^decoder\.|^lm_head\.",
)
"""Names of `T5EncoderModel`; of a whole T5 the decoder is left out."""


def clip_config(settings: Mapping[str, Any], *, projected: bool) -> CLIPTextConfig:
    """Reads the `config.json` of a CLIP text encoder.

    Args:
        settings: what it says; what it does not say is as transformers' `CLIPTextConfig` has it.
        projected: whether the weights have a projection (`CLIPTextModelWithProjection`).

    Raises:
        DataError: if it describes another network.
    """
    get = _getter(settings, "a CLIP text encoder")
    activation = get("hidden_act", "quick_gelu")
    if activation not in ("quick_gelu", "gelu"):
        raise DataError(f"a CLIP text encoder with hidden_act = {shown(str(activation))}, which is not known")
    if get("layer_norm_eps", 1e-5) != 1e-5:
        raise DataError("a CLIP text encoder with a layer_norm_eps other than 1e-5")
    end = get("eos_token_id", 49407)
    return CLIPTextConfig(
        vocabulary=get("vocab_size", 49408),
        width=get("hidden_size", 512),
        hidden=get("intermediate_size", 2048),
        layers=get("num_hidden_layers", 12),
        heads=get("num_attention_heads", 8),
        positions=get("max_position_embeddings", 77),
        activation=activation,
        projection=get("projection_dim", 512) if projected else 0,
        end_token=None if end == 2 else end,  # files of before transformers 4.31 say 2, whatever the end is
    )


def t5_config(settings: Mapping[str, Any]) -> T5Config:
    """Reads the `config.json` of a T5 1.1 encoder.

    Raises:
        DataError: if it describes another network, the first T5 for instance, whose MLP has no gate.
    """
    get = _getter(settings, "a T5 encoder")
    if get("feed_forward_proj", "relu") != "gated-gelu":
        raise DataError("a T5 encoder with feed_forward_proj other than gated-gelu is not known")
    if get("layer_norm_epsilon", 1e-6) != 1e-6:
        raise DataError("a T5 encoder with a layer_norm_epsilon other than 1e-6")
    return T5Config(
        vocabulary=get("vocab_size", 32128),
        width=get("d_model", 512),
        head_width=get("d_kv", 64),
        hidden=get("d_ff", 2048),
        layers=get("num_layers", 6),
        heads=get("num_heads", 8),
        buckets=get("relative_attention_num_buckets", 32),
        max_distance=get("relative_attention_max_distance", 128),
    )


def load_clip(folder: pathlib.Path, *, dtype: Any = np.float32) -> tuple[CLIPTextConfig, dict[str, Any]]:
    """Reads a CLIP text encoder from a folder like Stable Diffusion's `text_encoder`.

    Args:
        folder: with `config.json` and weights (see `open_tensors`).
        dtype: of the parameters.

    Raises:
        UserError: if there is no such folder or file.
        DataError: if it holds another network, or not all of it.
    """
    settings = read_settings(folder)
    projected = "CLIPTextModelWithProjection" in str(settings.get("architectures", ""))
    config = clip_config(settings, projected=projected)
    return config, nested(read_params(clip_shapes(config), CLIP_NAMES, open_tensors(folder), dtype=dtype))


def load_t5(folder: pathlib.Path, *, dtype: Any = np.float32) -> tuple[T5Config, dict[str, Any]]:
    """Reads a T5 encoder from a folder like PixArt's `text_encoder`; see `load_clip`.

    For one that is larger than the memory see `encode_t5_folder`.
    """
    config = t5_config(read_settings(folder))
    return config, nested(read_params(t5_shapes(config), T5_NAMES, open_tensors(folder), dtype=dtype))


def read_settings(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what a folder's `config.json` says.

    Raises:
        UserError: if there is none.
        DataError: if it is no JSON object.
    """
    file = folder / "config.json"
    return json_object(load_json(file), shown(file))


def _getter(settings: Mapping[str, Any], what: str) -> Any:
    def get(name: str, default: Any) -> Any:
        value = settings.get(name, default)
        if isinstance(default, bool) or not isinstance(default, int | float):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise DataError(f"{what} with {name} = {shown(str(value))}")
        return value

    return get
