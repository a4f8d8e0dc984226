"""Token ids and cleaned captions against transformers 4.47.1 and diffusers 0.32.2 (tests/golden/README.md)."""

import gzip
import json
import shutil

import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models.layers.text_encoders import clean_caption, load_tokenizer, tokenize
from diffgs_jax.models.layers.text_encoders.sentencepiece import read_pieces

START, END = "<|startoftext|>", "<|endoftext|>"


@pytest.fixture(scope="module")
def folder(request):
    return request.config.rootpath / "tests" / "golden"


@pytest.fixture(scope="module")
def golden(folder):
    with np.load(folder / "tokens.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def strings(golden):
    found = json.loads(str(golden["strings"]))
    assert len(found) == 200
    return found


@pytest.fixture(scope="module")
def clip_folder(folder, tmp_path_factory):
    """CLIP's tokenizer as Stable Diffusion's folders have it; the vocabulary follows from the merges."""
    merges = gzip.decompress((folder / "clip_merges.txt.gz").read_bytes()).decode()
    made = tmp_path_factory.mktemp("clip")
    (made / "merges.txt").write_text(merges, encoding="utf-8")
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in letters]
    signs = [chr(byte) for byte in letters] + [chr(256 + number) for number in range(len(others))]
    words = ["".join(line.split()) for line in merges.splitlines()[1:]]
    vocabulary = [*signs, *(f"{sign}</w>" for sign in signs), *words, START, END]
    (made / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(vocabulary)}))
    return made


@pytest.fixture(scope="module")
def clip(clip_folder):
    return load_tokenizer(clip_folder, repairs=False)


def test_clips_ids_are_the_published_ones(golden, strings, clip):
    found = tokenize(clip, strings, 77)
    np.testing.assert_array_equal(found.ids, golden["clip_l"])
    assert sum(count > 0 for count in found.cut) == 11
    assert all(found.mask.sum(1)[row] == 77 for row, count in enumerate(found.cut) if count)


@pytest.mark.slow
def test_repaired_texts_are_those_of_the_slow_tokenizer(golden, strings, clip_folder):
    found = tokenize(load_tokenizer(clip_folder), strings, 77).ids
    np.testing.assert_array_equal(found, golden["clip_l_slow"])
    assert (found != golden["clip_l"]).any()


@pytest.mark.slow
def test_what_fills_up_openclips_texts_is_an_exclamation_mark(golden, strings, clip_folder, tmp_path):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(clip_folder / name, tmp_path)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "!", "lstrip": False}}))
    np.testing.assert_array_equal(tokenize(load_tokenizer(tmp_path, repairs=False), strings, 77).ids, golden["clip_g"])


@pytest.fixture(scope="module")
def t5(folder, tmp_path_factory):
    made = tmp_path_factory.mktemp("t5")
    shutil.copy(folder / "spiece.model", made)
    return load_tokenizer(made)


@pytest.mark.parametrize("length", [77, 120, 256, 300])
def test_t5s_ids_are_the_published_ones(golden, strings, t5, length):
    found = tokenize(t5, strings, length)
    np.testing.assert_array_equal(found.ids, golden[f"t5_{length}"])
    assert found.ids[0, found.mask[0]][-1] == 1 and not found.ids[~found.mask].any()


@pytest.mark.slow
def test_a_tokenizer_json_is_read_as_it_is(golden, strings, clip, tmp_path):
    other = clip.encoder.from_str(clip.encoder.to_str())
    other.enable_truncation(5)
    other.enable_padding()
    other.save(str(tmp_path / "tokenizer.json"))
    np.testing.assert_array_equal(tokenize(load_tokenizer(tmp_path), strings, 77).ids, golden["clip_l"])


def test_captions_are_cleaned_as_published(golden):
    captions, cleaned = (json.loads(str(golden[name])) for name in ("captions", "cleaned"))
    assert [clean_caption(caption) for caption in captions] == cleaned
    assert sum(a != b for a, b in zip(captions, cleaned, strict=True)) > 100


def test_folders_without_a_tokenizer_are_named_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(DataError, match="no vocabulary of CLIP"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, START: 2, END: 3}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(DataError, match="two tokens a line"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(DataError, match=r"tokenizer\.json describes no tokenizer"):
        load_tokenizer(tmp_path)


def test_damaged_models_of_sentencepiece_are_refused(folder):
    data = (folder / "spiece.model").read_bytes()
    assert len(read_pieces(data, "it").pieces) == 1500
    for damaged in (data[:-1], data[1:], b"", b"\xff" * 40, bytes(1000)):
        with pytest.raises(DataError, match="sentencepiece"):
            read_pieces(damaged, "it")
