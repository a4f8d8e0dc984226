"""CLIP's two halves and ImageReward against the transformers library (tests/golden/make_pictures.py)."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from exact_arrays import error, under

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.evaluation import clip_scores
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.layers.text_encoders import encode_clip, tokenize
from diffgs_jax.models.layers.vision_language import (
    PictureTowerConfig,
    encode_pictures,
    load_clip_scorer,
    load_reward,
    prepare_pictures,
    reward_of,
    tower_shapes,
)


@pytest.fixture(scope="module")
def golden(request):
    with np.load(request.config.rootpath / "tests" / "golden" / "vision_language.npz") as file:
        return {name: file[name] for name in file.files}


def weights(golden, prefix):
    tensors = under(golden, prefix)
    return {
        name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items() if array.dtype == np.float16
    }


@pytest.fixture(scope="module")
def folders(golden, tmp_path_factory):
    """A CLIP and an ImageReward as users have them."""
    clip, reward = (tmp_path_factory.mktemp(name) for name in ("clip", "reward"))
    (clip / "config.json").write_text(str(golden["clip/config"]))
    safetensors.numpy.save_file(weights(golden, "clip/sd/"), clip / "model.safetensors")
    letters = [chr(97 + number) for number in range(23)]
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    (clip / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (clip / "merges.txt").write_text("#version: 0.2\n")
    safetensors.numpy.save_file(weights(golden, "blip/sd/"), reward / "model.safetensors")
    (reward / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "chair", "##s"]))
    return clip, reward


def last(pictures):
    return np.moveaxis(pictures.astype(np.float32), 1, -1)


def test_both_halves_of_clip_are_the_published_ones(golden, folders):
    scorer = load_clip_scorer(folders[0])
    pictures = last(golden["clip/pictures"])
    found = jax.jit(encode_pictures, static_argnums=0)(scorer.picture, scorer.picture_params, pictures)
    text = jax.jit(encode_clip, static_argnums=0)(scorer.text, scorer.text_params, golden["clip/ids"])
    for ours, name in ((found.projected, "image_embeds"), (text.projected, "text_embeds")):
        ours = np.asarray(ours)
        assert error(ours / np.linalg.norm(ours, axis=-1, keepdims=True), golden[f"clip/{name}"]) < 1e-4


def test_rewards_are_the_published_ones(golden, folders):
    scorer = load_reward(folders[1])
    assert scorer.config.picture.heads == scorer.config.text.heads == 1 and scorer.config.picture.size == 16
    pictures = last(golden["blip/pictures"])
    run = jax.jit(reward_of, static_argnums=0)
    found = run(scorer.config, scorer.params, pictures, golden["blip/ids"], golden["blip/mask"])
    expected = (golden["blip/out"] - 0.1671775) / 1.0333
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    text = tokenize(scorer.tokenizer, ["A red, chairs"], 8)
    assert text.ids[0].tolist() == [2, 4, 5, 1, 6, 7, 3, 0] and text.mask[0].sum() == 7


def test_pictures_are_resized_and_normalised():
    images = np.full((1, 8, 8, 3), 0.5, np.float32)
    shown = np.asarray(prepare_pictures(images, 16))
    assert shown.shape == (1, 16, 16, 3)
    np.testing.assert_allclose(
        shown[0, 3, 3],
        (0.5 - np.asarray([0.48145466, 0.4578275, 0.40821073])) / [0.26862954, 0.26130258, 0.27577711],
        rtol=1e-5,
    )


def test_counts_are_the_published_ones():
    assert parameter_count(tower_shapes(PictureTowerConfig())) == 87_456_000 + 768 * 512  # ViT-B/32 with its projection


def test_scores_of_views_by_hand():
    texts = np.eye(3)
    pictures = np.stack([np.stack([texts[0], texts[1]]), np.stack([texts[1]] * 2), np.stack([texts[2], -texts[2]])])
    scores = clip_scores(pictures, texts)
    np.testing.assert_allclose(scores.similarity, [100, 0])
    np.testing.assert_allclose(scores.precision, [100, 100 / 3])


def test_other_folders_are_refused_in_a_line(folders, tmp_path):
    clip, reward = folders
    with pytest.raises(UserError, match="there is no folder"):
        load_clip_scorer(tmp_path / "none")
    with pytest.raises(DataError, match="no ImageReward"):
        load_reward(clip)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="no text and vision halves"):
        load_clip_scorer(tmp_path)
    fields = json.loads((clip / "config.json").read_text())
    fields["vision_config"]["hidden_act"] = "relu"
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(DataError, match="hidden_act = relu"):
        load_clip_scorer(tmp_path)
