"""From prompts to what a published model is conditioned on, by the tokenizers and encoders in its folder."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import shown
from diffgs_jax.models.layers.text_encoders.captions import clean_caption
from diffgs_jax.models.layers.text_encoders.clip import CLIPText, encode_clip
from diffgs_jax.models.layers.text_encoders.prompts import sd3_embeddings, sdxl_embeddings
from diffgs_jax.models.layers.text_encoders.published import load_clip, read_settings
from diffgs_jax.models.layers.text_encoders.streaming import encode_t5_folder
from diffgs_jax.models.layers.text_encoders.tokenizers import CLIP_LENGTH, load_tokenizer, tokenize

PromptKind = Literal["sd", "sdxl", "sd3", "pixart"]
"""`sd` is Stable Diffusion 1.5 and 2.1, `sd3` also 3.5, `pixart` α and Σ."""

T5_LENGTHS = {"sd3": 256, "pixart": 300}
"""Tokens of a prompt for T5 where nothing else is asked for; PixArt-α has 120."""


class PromptEmbeddings(NamedTuple):
    """What a network is conditioned on.

    Attributes:
        tokens: features of the text's tokens.
        mask: which of them may be looked at; None for all, as everywhere but in PixArt.
        pooled: the pooled text, where there is one.
        cut: how many tokens of each prompt are left out for its length, in the encoder that reads the most.
    """

    tokens: Float32[np.ndarray, "b n width"]
    mask: Bool[np.ndarray, "b n"] | None
    pooled: Float32[np.ndarray, "b pooled"] | None
    cut: tuple[int, ...]


def prompt_kind(folder: pathlib.Path) -> PromptKind:
    """Tells by its encoders what a published model is conditioned on.

    Args:
        folder: with `text_encoder` and `tokenizer`, and more of them with a number behind.

    Raises:
        UserError: if there is no such folder or no encoder in it.
        DataError: if `text_encoder` does not say what it is.
    """
    if not (folder / "text_encoder").is_dir():
        raise UserError(f"{shown(folder)} has no text encoder: there is no folder text_encoder in it")
    if (folder / "text_encoder_3").is_dir() or (folder / "tokenizer_3").is_dir():
        return "sd3"
    if (folder / "text_encoder_2").is_dir():
        return "sdxl"
    kind = read_settings(folder / "text_encoder").get("model_type")
    if kind not in ("t5", "clip_text_model"):
        raise DataError(f"{shown(folder / 'text_encoder')} is of the kind {shown(str(kind))}, which is not known")
    return "pixart" if kind == "t5" else "sd"


def encode_prompts(
    folder: pathlib.Path,
    prompts: Sequence[str],
    *,
    kind: PromptKind | None = None,
    t5_length: int | None = None,
    use_t5: bool = True,
    clean: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> PromptEmbeddings:
    """Encodes prompts as the published pipelines do. One encoder is in memory at a time, and of T5 one block.

    Args:
        folder: of a published model in the layout of diffusers.
        prompts: of one image each; an empty one is what a model is guided away from where nothing else is given.
        kind: of the model; read off the folder by default.
        t5_length: tokens of a prompt for T5, of `T5_LENGTHS` by default.
        use_t5: with False, Stable Diffusion 3 does without T5.
        clean: clean PixArt's captions; with False they are put in lower case only.
        progress: told after each block of T5 how many of how many are done.

    Raises:
        UserError: if there is no prompt, an encoder or a tokenizer is missing, or a package is.
        DataError: if a file is damaged or holds something else.
    """
    if not prompts:
        raise UserError("there is no prompt")
    kind = kind or prompt_kind(folder)
    length = t5_length or T5_LENGTHS.get(kind, 0)
    if kind == "pixart":
        captions = [clean_caption(prompt) if clean else prompt.lower().strip() for prompt in prompts]
        tokens = tokenize(load_tokenizer(folder / "tokenizer"), captions, length)
        encoded = encode_t5_folder(folder / "text_encoder", tokens.ids, tokens.mask, progress=progress)
        return PromptEmbeddings(encoded, tokens.mask, None, tokens.cut)
    first, cut = _clip(folder, "", prompts)
    if kind == "sd":
        return PromptEmbeddings(np.asarray(first.last, np.float32), None, None, cut)
    second, _ = _clip(folder, "_2", prompts)
    if kind == "sdxl":
        both, pooled = sdxl_embeddings(first, second)
    elif use_t5:
        tokens = tokenize(load_tokenizer(folder / "tokenizer_3"), prompts, length)
        unmasked = np.ones_like(tokens.mask)
        t5 = encode_t5_folder(folder / "text_encoder_3", tokens.ids, unmasked, progress=progress)
        both, pooled = sd3_embeddings(first, second, jnp.asarray(t5))
        cut = tokens.cut
    else:
        both, pooled = sd3_embeddings(first, second, None)
    return PromptEmbeddings(np.asarray(both, np.float32), None, np.asarray(pooled, np.float32), cut)


def _clip(folder: pathlib.Path, number: str, prompts: Sequence[str]) -> tuple[CLIPText, tuple[int, ...]]:
    tokens = tokenize(load_tokenizer(folder / f"tokenizer{number}"), prompts, CLIP_LENGTH)
    config, params = load_clip(folder / f"text_encoder{number}")
    return jax.jit(encode_clip, static_argnums=0)(config, params, tokens.ids), tokens.cut
