"""Texts to token numbers, as the tokenizers of published text encoders make them.

The work is done by the `tokenizers` package (optional: `pip install "diffgs_jax[text]"`); here is what it is told for
files that describe a tokenizer without saying everything: CLIP's `vocab.json` with `merges.txt`, T5's `spiece.model`.
"""

import importlib
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import json_object, load_json, one_line, read_regular, shown
from diffgs_jax.models.layers.text_encoders.sentencepiece import read_pieces

CLIP_LENGTH = 77
"""Tokens of a text for CLIP, its start and its end included."""

_LIMIT = 64 * 2**20  # bytes of a file; those of T5 and CLIP have a few megabytes
_START, _END = "<|startoftext|>", "<|endoftext|>"
# Inside of what byte pairs are merged (Radford et al. 2021): an English ending, letters, one digit, anything else.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_BERT = ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
_EXTRA = 100  # tokens behind T5's vocabulary, <extra_id_99> to <extra_id_0>


class TextTokens(NamedTuple):
    """Texts as numbers, all of one length.

    Attributes:
        ids: of the tokens; behind a text's end is padding.
        mask: whether a token belongs to the text, its start and end included.
        cut: how many tokens of each text are left out, because it is too long.
    """

    ids: Int32[np.ndarray, "b n"]
    mask: Bool[np.ndarray, "b n"]
    cut: tuple[int, ...]


class Tokenizer(NamedTuple):
    """How texts become numbers.

    Attributes:
        encoder: of the `tokenizers` package, without truncation and padding.
        pad: the number that fills up a text.
        repairs: repair text first: wrong encodings, curly quotes, ligatures and wide letters become what was meant.
            The published pipelines do so for CLIP, where the `ftfy` package is installed.
    """

    encoder: Any
    pad: int
    repairs: bool


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> TextTokens:
    """Turns texts into numbers.

    Args:
        tokenizer: of `load_tokenizer`.
        texts: any; an empty one has a start and an end like all others.
        length: tokens of each text. What is too long loses its end, but not the token that marks it.
    """
    if tokenizer.repairs:
        repair = _package("ftfy").fix_text
        texts = [repair(text).lower() for text in texts]
    encoded = [encoding.ids for encoding in tokenizer.encoder.encode_batch(list(texts))]
    ids = np.full((len(encoded), length), tokenizer.pad, np.int32)
    mask = np.zeros((len(encoded), length), bool)
    for row, tokens in enumerate(encoded):
        kept = tokens if len(tokens) <= length else [*tokens[: length - 1], tokens[-1]]
        ids[row, : len(kept)] = kept
        mask[row, : len(kept)] = True
    return TextTokens(ids, mask, tuple(max(len(tokens) - length, 0) for tokens in encoded))


def load_tokenizer(folder: pathlib.Path, *, repairs: bool | None = None) -> Tokenizer:
    """Reads the tokenizer in a folder like Stable Diffusion's `tokenizer`.

    Args:
        folder: with `tokenizer.json`, or CLIP's `vocab.json` and `merges.txt`, T5's `spiece.model`, or BERT's
            `vocab.txt`. What fills up a text is read from `tokenizer_config.json` or `special_tokens_map.json`;
            without, it is CLIP's end, T5's padding, or BERT's.
        repairs: repair text first; by default where the folder's own files say that it is CLIP's.

    Raises:
        UserError: if there is no such folder, or a package is missing.
        DataError: if there is no tokenizer in it, or a file is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {shown(folder)}")
    clip = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    if (file := folder / "tokenizer.json").is_file():
        encoder = _from_json(file)
    elif clip:
        encoder = clip_tokenizer(folder / "vocab.json", folder / "merges.txt")
    elif (file := folder / "spiece.model").is_file():
        encoder = t5_tokenizer(file)
    elif (file := folder / "vocab.txt").is_file():
        encoder = bert_tokenizer(file)
    else:
        raise DataError(
            f"{shown(folder)} has no tokenizer: no tokenizer.json, no vocab.json with merges.txt, no spiece.model, "
            "no vocab.txt"
        )
    known = (
        name for name in (_pad_name(folder), _END, "<pad>", _BERT[2]) if name and encoder.token_to_id(name) is not None
    )
    name = next(known, None)
    if name is None:
        raise DataError(f"{shown(folder)} does not say what fills up a text")
    # What fills up a text is a token of its own inside of one too: an exclamation mark for OpenCLIP's.
    encoder.add_special_tokens([_package("tokenizers").AddedToken(name, normalized=False)])
    pad = encoder.token_to_id(name)
    return Tokenizer(encoder, pad, clip if repairs is None else repairs)


def clip_tokenizer(vocabulary: pathlib.Path, merges: pathlib.Path) -> Any:
    """Returns CLIP's tokenizer: lower case, byte pairs inside of words whose last letter carries `</w>`.

    Args:
        vocabulary: `vocab.json`, numbers by token.
        merges: `merges.txt`, two tokens a line, the most frequent first, below a line with a version.

    Raises:
        UserError: if a file cannot be read or a package is missing.
        DataError: if a file is damaged.
    """
    package = _package("tokenizers")
    numbers = json_object(load_json(vocabulary), shown(vocabulary))
    if not all(type(number) is int and 0 <= number < 2**31 for number in numbers.values()):
        raise DataError(f"{shown(vocabulary)} is no vocabulary: numbers by token")
    missing = [token for token in (_START, _END) if token not in numbers]
    if missing:
        raise DataError(f"{shown(vocabulary)} is no vocabulary of CLIP: it has no {missing[0]}")
    lines = _text(merges).split("\n")
    pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
    if not all(len(pair) == 2 for pair in pairs):
        raise DataError(f"{shown(merges)} is no list of merges: two tokens a line")
    model = _built(vocabulary, lambda: package.models.BPE(numbers, pairs, end_of_word_suffix="</w>", unk_token=_END))
    encoder = package.Tokenizer(model)
    normalizers, splitters = package.normalizers, package.pre_tokenizers
    encoder.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(package.Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    encoder.pre_tokenizer = splitters.Sequence(
        [
            splitters.Split(package.Regex(_PIECES), behavior="removed", invert=True),
            splitters.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    encoder.add_special_tokens([package.AddedToken(token, normalized=False) for token in (_START, _END)])
    ends = [(token, numbers[token]) for token in (_START, _END)]
    encoder.post_processor = package.processors.TemplateProcessing(single=f"{_START} $A {_END}", special_tokens=ends)
    return encoder


def t5_tokenizer(file: pathlib.Path) -> Any:
    """Returns T5's tokenizer: the likeliest division into pieces (Kudo 2018), and `</s>` behind the text.

    Args:
        file: `spiece.model` of the sentencepiece program, a unigram model.

    Raises:
        UserError: if it cannot be read or a package is missing.
        DataError: if it is damaged or of another kind.
    """
    package = _package("tokenizers")
    model = read_pieces(read_regular(file, limit=_LIMIT), shown(file))
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    extra = [f"<extra_id_{number}>" for number in reversed(range(_EXTRA))]
    named = [text for text, _ in pieces]
    if "</s>" not in named:
        raise DataError(f"{shown(file)} is no model of T5: it has no </s>")
    end = named.index("</s>")
    unigram = _built(
        file, lambda: package.models.Unigram(pieces + [(token, 0.0) for token in extra], model.unknown, False)
    )
    encoder = package.Tokenizer(unigram)
    normalizers = package.normalizers
    steps = [normalizers.Strip(left=False, right=True), normalizers.Replace(package.Regex(" {2,}"), "▁")]
    if model.character_map:
        steps.insert(0, _built(file, lambda: normalizers.Precompiled(model.character_map)))
    encoder.normalizer = normalizers.Sequence(steps)
    encoder.pre_tokenizer = package.pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    special = [*(piece.text for piece in model.pieces if piece.special), "<unk>", *extra]
    encoder.add_special_tokens([package.AddedToken(token, normalized=False) for token in dict.fromkeys(special)])
    encoder.post_processor = package.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return encoder


def bert_tokenizer(vocabulary: pathlib.Path) -> Any:
    """Returns BERT's tokenizer (Devlin et al. 2019): lower case without accents, words parted into known pieces.

    Args:
        vocabulary: `vocab.txt`, one token a line.

    Raises:
        UserError: if it cannot be read or a package is missing.
        DataError: if it is damaged.
    """
    package = _package("tokenizers")
    numbers = {token: number for number, token in enumerate(_text(vocabulary).splitlines())}
    missing = [token for token in _BERT if token not in numbers]
    if missing:
        raise DataError(f"{shown(vocabulary)} is no vocabulary of BERT: it has no {missing[0]}")
    encoder = package.Tokenizer(package.models.WordPiece(numbers, unk_token=_BERT[3], max_input_chars_per_word=100))
    encoder.normalizer = package.normalizers.BertNormalizer(lowercase=True)
    encoder.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
    encoder.add_special_tokens([package.AddedToken(token, normalized=False) for token in _BERT])
    ends = [(token, numbers[token]) for token in _BERT[:2]]
    encoder.post_processor = package.processors.TemplateProcessing(
        single=f"{_BERT[0]} $A {_BERT[1]}", special_tokens=ends
    )
    return encoder


def _from_json(file: pathlib.Path) -> Any:
    package = _package("tokenizers")
    encoder = _built(file, lambda: package.Tokenizer.from_buffer(read_regular(file, limit=_LIMIT)))
    encoder.no_truncation()
    encoder.no_padding()
    return encoder


def _pad_name(folder: pathlib.Path) -> str | None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (file := folder / name).is_file():
            pad = json_object(load_json(file), shown(file)).get("pad_token")
            pad = pad.get("content") if isinstance(pad, dict) else pad
            if isinstance(pad, str):
                return pad
    return None


def _text(file: pathlib.Path) -> str:
    try:
        return read_regular(file, limit=_LIMIT).decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{shown(file)} is not UTF-8") from None


def _built(file: pathlib.Path, build: Any) -> Any:
    try:
        return build()
    except (UserError, DataError):
        raise
    except Exception as error:  # noqa: BLE001 - the package raises plain Exception
        raise DataError(f"{shown(file)} describes no tokenizer that can be used: {one_line(error)}") from None


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f'texts need the package {name}: pip install "diffgs_jax[text]"') from None
