"""Prompts as features: of a small encoder that is trained with the network, or stored ones of published encoders."""

import functools
import io
import os
import pathlib
import re
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int32

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import one_line, open_regular, open_zip, read_member, shown
from diffgs_jax.models.bundles import Frozen, Params, Text
from diffgs_jax.models.diffsplat.attention import TokenAttention
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.config import TextConfig
from diffgs_jax.models.layers.dit import MLP, layer_norm
from diffgs_jax.models.layers.initialization import Initializers, uniform_bounds
from diffgs_jax.models.layers.stack import describe, make_stack, run_stack

_START, _FIRST_WORD = 1, 2  # 0 is padding
_MASKED = -1e4


class TextBlock(nnx.Module):
    """Self-attention and MLP of words, each behind a norm and beside a skip."""

    def __init__(self, config: TextConfig, *, initializers: Initializers, rngs: nnx.Rngs):
        settings: Any = {"dtype": jnp.float32, "initializers": initializers, "rngs": rngs}
        self.attention = TokenAttention(config.width, config.heads, kind="xla", **settings)
        self.mlp = MLP(config.width, 4 * config.width, **settings)

    def __call__(self, x: Float[Array, "b n width"], bias: Float[Array, "b 1 1 n"]) -> Float[Array, "b n width"]:
        """Returns the words after the block."""
        normal = layer_norm(x)
        x = x + self.attention(normal, normal, bias)
        return x + self.mlp(layer_norm(x))


class TextEncoder(nnx.Module):
    """A transformer over hashed words."""

    def __init__(self, config: TextConfig, *, initializers: Initializers, rngs: nnx.Rngs):
        # Bounds of uniform draws with the variance 1 / width, so that a word is as long as a normalised one
        bound = jax.nn.initializers.constant((3 / config.width) ** 0.5)
        self.words = nnx.Embed(config.vocabulary, config.width, embedding_init=bound, rngs=rngs)
        self.places = nnx.Embed(config.tokens, config.width, embedding_init=bound, rngs=rngs)
        self.blocks = make_stack(
            config.layers, lambda rngs: TextBlock(config, initializers=initializers, rngs=rngs), rngs
        )

    def __call__(self, tokens: Int32[Array, "b n"], mask: Bool[Array, "b n"]) -> TextFeatures:
        """Returns the features of each word, and their mean as the pooled ones."""
        present = mask.astype(jnp.float32)
        bias = ((1.0 - present) * _MASKED)[:, None, None]
        x = self.words(tokens) + self.places(jnp.arange(tokens.shape[1]))[None]
        x, _ = run_stack(self.blocks, x, lambda block, x: block(x, bias))
        x = layer_norm(x) * present[..., None]
        return TextFeatures(x, present, jnp.sum(x, axis=1) / jnp.sum(present, axis=1, keepdims=True))


def hashed_words(config: TextConfig, captions: Sequence[str]) -> Text:
    """Returns a row of the table of words for each word of each caption, behind a start that is always there.

    Words are runs of letters and digits, in any case; the row is the CRC-32 of the UTF-8 bytes, modulo the table.
    """
    tokens = np.zeros((len(captions), config.tokens), np.int32)
    for row, caption in zip(tokens, captions, strict=True):
        words = re.findall(r"\w+", caption.casefold())[: config.tokens - 1]
        numbers = [zlib.crc32(word.encode()) % (config.vocabulary - _FIRST_WORD) + _FIRST_WORD for word in words]
        row[: len(words) + 1] = [_START, *numbers]
    return Text(tokens, tokens > 0)


def stored_rows(file: str, captions: Sequence[str]) -> Text:
    """Returns the row that each caption has in a file of stored features, as its only token.

    Raises:
        UserError: if the file does not have a caption, or is not there.
        DataError: if it is no such file.
    """
    known = _stored_prompts(file)
    rows = []
    for caption in captions:
        if caption not in known:
            raise UserError(
                f"the prompt {shown(caption)} is not among the {len(known)} of {shown(file)}: write them anew with it "
                "(scripts/embed_prompts.py)"
            )
        rows.append(known[caption])
    tokens = np.asarray(rows, np.int32).reshape(-1, 1)
    return Text(tokens, np.ones(tokens.shape, bool))


@functools.lru_cache(maxsize=8)
def _stored_prompts(file: str) -> dict[str, int]:
    return {str(prompt): row for row, prompt in enumerate(_read(file, ["prompts"])["prompts"])}


def load_prompts(config: TextConfig) -> TextFeatures:
    """Returns the features of all prompts of a file, one row each.

    Raises:
        UserError: if the file is not there.
        DataError: if it is no such file, or lacks the empty prompt.
    """
    prompts = _stored_prompts(config.file)
    if "" not in prompts:
        raise DataError(f"{shown(config.file)} lacks the empty prompt, which stands for none")
    found = _read(config.file, TextFeatures._fields)
    if any(len(array) != len(prompts) for array in found.values()):
        raise DataError(f"{shown(config.file)} is no file of prompts: it has not as many features as prompts")
    return TextFeatures(**{name: jnp.asarray(array, jnp.float32) for name, array in found.items()})


def _read(file: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns those arrays of a file of prompts that are there; no more of it is read than it has bytes."""
    if not file:
        raise UserError("model.text.file names no file of prompts")
    name = shown(file)
    with open_regular(pathlib.Path(file)) as opened, open_zip(opened, name) as archive:
        members, size = archive.namelist(), os.fstat(opened.fileno()).st_size
        if not {"prompts.npy", "tokens.npy"} <= set(members):
            raise DataError(f"{name} is no file of prompts: no prompts with tokens in it")
        packed = {one: read_member(archive, f"{one}.npy", size, name) for one in names if f"{one}.npy" in members}
    try:
        return {one: np.lib.format.read_array(io.BytesIO(data), allow_pickle=False) for one, data in packed.items()}
    except (ValueError, EOFError, MemoryError) as error:
        raise DataError(f"{name} is no file of prompts: {one_line(error)}") from None


def null_text(config: TextConfig, batch: int) -> Text | None:
    """Returns the tokens of the empty prompt, `batch` times; None for a model without prompts."""
    tokenize = tokenizer(config)
    return None if tokenize is None else tokenize([""] * batch)


def tokenizer(config: TextConfig) -> Any:
    """Returns what turns captions into tokens; None for a model without prompts."""
    match config.encoder:
        case "learned":
            return functools.partial(hashed_words, config)
        case "stored":
            return functools.partial(stored_rows, config.file)
        case "none":
            return None


def make_encoder(config: TextConfig, rngs: nnx.Rngs) -> TextEncoder:
    """Returns the learned encoder, its parameters those of `uniform_bounds`."""
    return TextEncoder(config, initializers=uniform_bounds(), rngs=rngs)


@functools.lru_cache(maxsize=32)
def describe_encoder(config: TextConfig) -> tuple[nnx.GraphDef[TextEncoder], Params]:
    """Returns the learned encoder without its parameters, and their shapes."""
    return describe(lambda rngs: make_encoder(config, rngs))


def text_features(config: TextConfig, params: Params, frozen: Frozen, text: Text) -> TextFeatures:
    """Returns what the network is told of prompts.

    Args:
        config: of the prompts.
        params: holds `text` where the encoder is learned.
        frozen: holds `prompts` where features are stored.
        text: of `tokenizer`.
    """
    tokens, mask = jnp.asarray(text.tokens), jnp.asarray(text.mask)
    if config.encoder == "learned":
        return nnx.merge(describe_encoder(config)[0], params["text"])(tokens, mask)
    table: TextFeatures = frozen["prompts"]
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[tokens[:, 0]], table)
