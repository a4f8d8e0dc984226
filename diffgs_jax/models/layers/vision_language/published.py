"""Networks that compare pictures with texts, as they are published: folders that a user names."""

import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import json_object, load_json, shown
from diffgs_jax.models.layers.text_encoders import (
    CLIP_NAMES,
    CLIPTextConfig,
    Tokenizer,
    clip_config,
    clip_shapes,
    load_tokenizer,
)
from diffgs_jax.models.layers.vision_language.config import BLIPTextConfig, PictureTowerConfig, RewardConfig
from diffgs_jax.models.layers.vision_language.pictures import tower_shapes
from diffgs_jax.models.layers.vision_language.reward import reward_shapes
from diffgs_jax.weights import Naming, Tensors, nested, open_tensors, read_params

CLIP_PICTURE_NAMES = Naming(
    replacements=(
        (r"^patches$", "vision_model.embeddings.patch_embedding"),
        (r"^token$", "vision_model.embeddings.class_embedding"),
        (r"^places$", "vision_model.embeddings.position_embedding"),
        (r"^first_norm$", "vision_model.pre_layrnorm"),  # (sic)
        (r"^norm$", "vision_model.post_layernorm"),
        (r"^projection$", "visual_projection"),
        (r"^blocks\.", "vision_model.encoder.layers.{i}."),
        (r"\.norm(\d)$", r".layer_norm\1"),
        (r"\.(query|key|value)$", lambda match: f".self_attn.{match[1][0]}_proj"),
        (r"\.projection$", ".self_attn.out_proj"),
        (r"\.hidden$", ".mlp.fc1"),
        (r"\.output$", ".mlp.fc2"),
    ),
    left_out=r"position_ids$|^text_|^logit_scale$",
)
"""Names of the picture's half of `CLIPModel`."""

_TEXT_OF_CLIP = CLIP_NAMES._replace(left_out=r"position_ids$|^vision_model\.|^visual_projection\.|^logit_scale$")

REWARD_NAMES = Naming(
    replacements=(
        (r"^picture\.patches$", "blip.visual_encoder.patch_embed.proj"),
        (r"^picture\.token$", "blip.visual_encoder.cls_token"),
        (r"^picture\.places$", "blip.visual_encoder.pos_embed"),
        (r"^picture\.norm$", "blip.visual_encoder.norm"),
        (r"^picture\.blocks\.(query|key|value)$", r"blip.visual_encoder.blocks.{i}.attn.\1"),
        (r"^picture\.blocks\.projection$", "blip.visual_encoder.blocks.{i}.attn.proj"),
        (r"^picture\.blocks\.hidden$", "blip.visual_encoder.blocks.{i}.mlp.fc1"),
        (r"^picture\.blocks\.output$", "blip.visual_encoder.blocks.{i}.mlp.fc2"),
        (r"^picture\.blocks\.", "blip.visual_encoder.blocks.{i}."),
        (r"^reader\.tokens$", "blip.text_encoder.embeddings.word_embeddings"),
        (r"^reader\.places$", "blip.text_encoder.embeddings.position_embeddings"),
        (r"^reader\.norm$", "blip.text_encoder.embeddings.LayerNorm"),
        (r"^reader\.head\.(\d+)$", lambda match: f"mlp.layers.{_HEAD[int(match[1])]}"),
        (r"^reader\.blocks\.text\.", "blip.text_encoder.encoder.layer.{i}.attention."),
        (r"^reader\.blocks\.picture\.", "blip.text_encoder.encoder.layer.{i}.crossattention."),
        (r"attention\.(query|key|value)$", r"attention.self.\1"),
        (r"attention\.projection$", "attention.output.dense"),
        (r"attention\.norm$", "attention.output.LayerNorm"),
        (r"^reader\.blocks\.hidden$", "blip.text_encoder.encoder.layer.{i}.intermediate.dense"),
        (r"^reader\.blocks\.output$", "blip.text_encoder.encoder.layer.{i}.output.dense"),
        (r"^reader\.blocks\.norm$", "blip.text_encoder.encoder.layer.{i}.output.LayerNorm"),
    ),
    left_out=r"position_ids$|^blip\.(?!visual_encoder|text_encoder)|^blip\.text_encoder\.pooler\.",
)
"""Names in ImageReward's own file, with the picture's queries, keys and values apart (`_parted`)."""

_HEAD = (0, 2, 4, 6, 7)  # dropout stands between
_LENGTH = 35  # tokens of a text, as published


class CLIPScorer(NamedTuple):
    """CLIP, to compare pictures with texts.

    Attributes:
        text: settings of the half that reads.
        text_params: its weights.
        picture: settings of the half that looks.
        picture_params: its weights.
        tokenizer: of texts.
    """

    text: CLIPTextConfig
    text_params: dict[str, Any]
    picture: PictureTowerConfig
    picture_params: dict[str, Any]
    tokenizer: Tokenizer


class RewardScorer(NamedTuple):
    """ImageReward.

    Attributes:
        config: its settings.
        params: its weights.
        tokenizer: of texts.
        length: tokens of a text.
    """

    config: RewardConfig
    params: dict[str, Any]
    tokenizer: Tokenizer
    length: int = _LENGTH


def load_clip_scorer(folder: pathlib.Path) -> CLIPScorer:
    """Reads a CLIP model from a folder of the transformers library, like openai/clip-vit-base-patch32.

    Args:
        folder: with config.json, weights and the tokenizer.

    Raises:
        UserError: if there is no such folder or file.
        DataError: if it holds another network, or not all of it.
    """
    settings = _settings(folder)
    halves = [settings.get(name) for name in ("text_config", "vision_config")]
    if not all(isinstance(half, dict) for half in halves):
        raise DataError(f"{shown(folder)} is no CLIP model: its config.json describes no text and vision halves")
    projection = _number(settings, "projection_dim", 512)
    described: list[dict[str, Any]] = [{**half, "projection_dim": projection} for half in halves]  # ty: ignore
    text, picture = clip_config(described[0], projected=True), clip_picture_config(described[1])
    tensors = open_tensors(folder)
    text_params = nested(read_params(clip_shapes(text), _TEXT_OF_CLIP, tensors))
    picture_params = nested(read_params(tower_shapes(picture), CLIP_PICTURE_NAMES, _with_token(tensors)))
    return CLIPScorer(text, text_params, picture, picture_params, load_tokenizer(folder))


def clip_picture_config(settings: Mapping[str, Any]) -> PictureTowerConfig:
    """Reads the `vision_config` of a CLIP model; what it does not say is as transformers has it.

    Raises:
        DataError: if it describes another network.
    """
    activation = settings.get("hidden_act", "quick_gelu")
    if activation not in ("quick_gelu", "gelu"):
        raise DataError(f"a CLIP picture encoder with hidden_act = {shown(str(activation))}, which is not known")
    return PictureTowerConfig(
        size=_number(settings, "image_size", 224),
        patch_size=_number(settings, "patch_size", 32),
        width=_number(settings, "hidden_size", 768),
        hidden=_number(settings, "intermediate_size", 3072),
        layers=_number(settings, "num_hidden_layers", 12),
        heads=_number(settings, "num_attention_heads", 12),
        activation=activation,
        projection=_number(settings, "projection_dim", 512),
    )


def load_reward(folder: pathlib.Path) -> RewardScorer:
    """Reads ImageReward from a folder with `ImageReward.pt` as published, and BERT's `vocab.txt` or `tokenizer.json`.

    Its sizes are read off the weights; heads have 64 features, as in every BLIP.

    Raises:
        UserError: if there is no such folder or file.
        DataError: if it holds another network, or not all of it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {shown(folder)}")
    file = folder / "ImageReward.pt"
    tensors = open_tensors(file if file.is_file() else folder)
    config = reward_config(tensors)
    params = nested(read_params(reward_shapes(config), REWARD_NAMES, _parted(tensors)))
    return RewardScorer(config, params, load_tokenizer(folder))


def reward_config(tensors: Tensors, *, head_width: int = 64) -> RewardConfig:
    """Reads the sizes of an ImageReward off its weights.

    Args:
        tensors: under their published names.
        head_width: features of an attention head.

    Raises:
        DataError: if they are no ImageReward's.
    """

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors.shapes:
            raise DataError(f"{tensors.source} is no ImageReward: it has no {name}")
        return tensors.shapes[name]

    def count(pattern: str) -> int:
        return 1 + max((int(match[1]) for name in tensors if (match := re.match(pattern, name))), default=-1)

    picture, text = "blip.visual_encoder", "blip.text_encoder"
    width, _, side, _ = shape(f"{picture}.patch_embed.proj.weight")
    words, text_width = shape(f"{text}.embeddings.word_embeddings.weight")
    return RewardConfig(
        picture=PictureTowerConfig(
            size=side * math.isqrt(shape(f"{picture}.pos_embed")[1] - 1),
            patch_size=side,
            width=width,
            hidden=shape(f"{picture}.blocks.0.mlp.fc1.weight")[0],
            layers=count(rf"{re.escape(picture)}\.blocks\.(\d+)\."),
            heads=max(width // head_width, 1),
            activation="gelu",
            epsilon=1e-6,
            first_norm=False,
            projection=0,
        ),
        text=BLIPTextConfig(
            vocabulary=words,
            positions=shape(f"{text}.embeddings.position_embeddings.weight")[0],
            width=text_width,
            hidden=shape(f"{text}.encoder.layer.0.intermediate.dense.weight")[0],
            layers=count(rf"{re.escape(text)}\.encoder\.layer\.(\d+)\."),
            heads=max(text_width // head_width, 1),
            picture_width=width,
        ),
        head=tuple(shape(f"mlp.layers.{number}.weight")[0] for number in _HEAD[:-1]),
    )


def _with_token(tensors: Tensors) -> Tensors:
    """Returns CLIP's tensors with the class token under a name like others."""
    name = "vision_model.embeddings.class_embedding"
    return _renamed(tensors, {name: (f"{name}.weight", lambda array: array)})


def _parted(tensors: Tensors) -> Tensors:
    """Returns ImageReward's tensors with queries, keys and values apart, and learned tokens without a batch axis."""
    picture = "blip.visual_encoder"
    changes = {
        f"{picture}.cls_token": (f"{picture}.cls_token.weight", lambda array: array[0, 0]),
        f"{picture}.pos_embed": (f"{picture}.pos_embed.weight", lambda array: array[0]),
    }
    renamed = _renamed(tensors, changes)
    shapes, places = dict(renamed.shapes), dict[str, tuple[str, int]]()
    for name in renamed:
        match = re.fullmatch(rf"({re.escape(picture)}\.blocks\.\d+\.attn)\.qkv\.(weight|bias)", name)
        if match is None or shapes[name][0] % 3:
            continue
        whole = shapes.pop(name)
        for number, part in enumerate(("query", "key", "value")):
            shapes[f"{match[1]}.{part}.{match[2]}"] = (whole[0] // 3, *whole[1:])
            places[f"{match[1]}.{part}.{match[2]}"] = name, number

    def read(name: str) -> np.ndarray:
        if name not in places:
            return renamed[name]
        source, number = places[name]
        return np.split(np.asarray(renamed[source]), 3)[number]

    return Tensors(shapes, read, tensors.source)


def _renamed(tensors: Tensors, changes: Mapping[str, tuple[str, Any]]) -> Tensors:
    there = {name: change for name, change in changes.items() if name in tensors.shapes}
    shapes = {name: shape for name, shape in tensors.shapes.items() if name not in there}
    sources = {}
    for name, (new, make) in there.items():
        shapes[new] = make(np.broadcast_to(np.bool_(0), tensors.shapes[name])).shape
        sources[new] = name, make

    def read(name: str) -> np.ndarray:
        if name not in sources:
            return tensors[name]
        source, make = sources[name]
        return make(np.asarray(tensors[source]))

    return Tensors(shapes, read, tensors.source)


def _settings(folder: pathlib.Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UserError(f"there is no folder {shown(folder)}")
    file = folder / "config.json"
    return json_object(load_json(file), shown(file))


def _number(settings: Mapping[str, Any], name: str, usual: int) -> int:
    value = settings.get(name, usual)
    if type(value) is not int or not 0 < value < 1 << 20:
        raise DataError(f"{name} = {shown(str(value))} is no size of a network")
    return value
