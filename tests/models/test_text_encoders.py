"""Text encoders against outputs of the transformers library (tests/golden/README.md)."""

import dataclasses
import importlib.util
import json

import jax
import numpy as np
import pytest
from exact_arrays import error, load_exact, under

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.layers.text_encoders import (
    CLIP_NAMES,
    T5_NAMES,
    CLIPTextConfig,
    T5Config,
    apply_t5_block,
    clip_config,
    clip_shapes,
    distance_buckets,
    encode_clip,
    encode_prompts,
    encode_t5,
    encode_t5_folder,
    finish_t5,
    prompt_kind,
    sd3_embeddings,
    sdxl_embeddings,
    start_t5,
    t5_config,
    t5_shapes,
)
from diffgs_jax.weights import nested, read_params, tensors_of

encode_clip = jax.jit(encode_clip, static_argnums=0)
encode_t5 = jax.jit(encode_t5, static_argnums=0)


@pytest.fixture(scope="module")
def golden(request):
    return load_exact(request.config.rootpath / "tests" / "golden" / "diffsplat_text.npz")


def clip(golden, name, projected):
    config = clip_config(json.loads(str(golden[f"{name}/config"])), projected=projected)
    tensors = tensors_of(under(golden, f"{name}/sd/"))
    return config, nested(read_params(clip_shapes(config), CLIP_NAMES, tensors))


@pytest.fixture(scope="module")
def t5(golden):
    config = t5_config(json.loads(str(golden["t5/config"])))
    return config, nested(read_params(t5_shapes(config), T5_NAMES, tensors_of(under(golden, "t5/sd/"))))


@pytest.fixture(scope="module")
def encoded(golden):
    """What both CLIP encoders of Stable Diffusion 3 make of a prompt and an empty one."""
    return [
        encode_clip(*clip(golden, f"sd3/{name}", True), np.asarray(golden[f"sd3/ids_{name}"], np.int32))
        for name in ("clip1", "clip2")
    ]


def test_counts_are_the_published_ones():
    assert parameter_count(clip_shapes(CLIPTextConfig())) == 123_060_480
    assert parameter_count(clip_shapes(CLIPTextConfig(projection=768))) == 123_650_304
    big = CLIPTextConfig(width=1280, hidden=5120, layers=32, heads=20, projection=1280, activation="gelu")
    assert parameter_count(clip_shapes(big)) == 694_659_840
    assert parameter_count(t5_shapes(T5Config())) == 4_762_310_656


def test_clip_of_stable_diffusion_equals_the_published_one(golden):
    found = encode_clip(*clip(golden, "sd15", False), np.asarray(golden["sd15/ids"], np.int32))
    assert found.projected is None
    for ours, name in ((found.last, "last_hidden_state"), (found.pooled, "pooler_output")):
        assert error(ours, golden[f"sd15/{name}"]) < 1e-4
    assert error(found.hidden[-2], golden["sd15/hidden_-2"]) < 1e-4
    for row, name in ((0, "prompt_embeds"), (1, "negative_prompt_embeds")):
        assert error(found.last[row : row + 1], golden[f"sd15/{name}"]) < 1e-4


@pytest.mark.slow
def test_clip_with_projection_pools_where_the_published_ones_do(golden, encoded):
    for name, found in zip(("clip1", "clip2"), encoded, strict=True):
        assert error(found.hidden[-2], golden[f"sd3/{name}_hidden_-2"]) < 1e-4
        assert error(found.projected, golden[f"sd3/{name}_text_embeds"]) < 1e-4


def test_t5_equals_the_published_one_and_heeds_its_mask(golden, t5):
    ids, rows = np.asarray(golden["pas/ids"], np.int32), golden["pas/rows"]
    masked = np.asarray(encode_t5(*t5, ids, golden["pas/mask"].astype(bool)))
    assert error(masked[0, rows], golden["pas/prompt_embeds_rows"]) < 1e-4
    assert error(masked[1, rows], golden["pas/negative_prompt_embeds_rows"]) < 1e-4
    np.testing.assert_allclose(np.abs(masked.astype(np.float64)).sum((1, 2)), golden["pas/sum_abs"], rtol=1e-5)
    plain = np.asarray(encode_t5(*t5, ids, np.ones(ids.shape, bool)))
    assert error(plain[0, rows], golden["pas/prompt_embeds_nomask_rows"]) < 1e-4
    assert error(plain[0, rows], golden["pas/prompt_embeds_rows"]) > 0.01


@pytest.mark.slow
def test_prompts_of_stable_diffusion_3_are_put_together_as_published(golden, encoded, t5):
    last = encode_t5(*t5, np.asarray(golden["sd3/ids_t5"], np.int32))
    assert error(last, golden["sd3/t5_last"]) < 1e-4
    embeddings, pooled = sd3_embeddings(*encoded, last)
    for row, sign in ((0, ""), (1, "negative_")):
        assert error(embeddings[row : row + 1], golden[f"sd3/{sign}prompt_embeds"]) < 1e-4
        assert error(pooled[row : row + 1], golden[f"sd3/{sign}pooled"]) < 1e-4
    without, _ = sd3_embeddings(*encoded, None, t5_width=last.shape[-1])
    assert error(without[:1], golden["sd3/prompt_embeds_without_t5"]) < 1e-4
    both, second = sdxl_embeddings(*encoded)
    np.testing.assert_array_equal(both, embeddings[:, :77, : both.shape[-1]])
    np.testing.assert_array_equal(second, encoded[1].projected)


def test_distances_fall_into_the_published_buckets(golden):
    np.testing.assert_array_equal(distance_buckets(golden["t5/relative_position"], 32, 128), golden["t5/bucket"])


@pytest.mark.slow
def test_t5_block_by_block_is_t5(golden, t5):
    config, params = t5
    ids = np.asarray(golden["sd3/ids_t5"], np.int32)
    x, bias = jax.jit(start_t5, static_argnums=0)(config, params["ends"], ids, np.ones(ids.shape, bool))
    run, tensors = jax.jit(apply_t5_block, static_argnums=0), tensors_of(under(golden, "t5/sd/"))
    for layer in range(config.layers):
        block = nested(read_params(t5_shapes(config), T5_NAMES, tensors, layer=layer))["blocks"]
        x = run(config, block, x, bias)
    assert error(finish_t5(config, params["ends"], x), golden["sd3/t5_last"]) < 1e-4


@pytest.mark.slow
def test_bfloat16_stays_close(golden):
    config, params = clip(golden, "sd15", False)
    ids = np.asarray(golden["sd15/ids"], np.int32)
    half = encode_clip(dataclasses.replace(config, dtype="bfloat16"), params, ids).last
    assert 0 < error(half, golden["sd15/last_hidden_state"]) < 0.05


def test_a_longer_text_than_there_are_positions_is_refused(golden):
    config, params = clip(golden, "sd15", False)
    with pytest.raises(ValueError, match="78 tokens where there are 77 positions"):
        encode_clip(config, params, np.zeros((1, 78), np.int32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act = relu"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps"),
        ({"hidden_size": "wide"}, "hidden_size = wide"),
    ],
)
def test_other_clips_are_refused(settings, message):
    with pytest.raises(DataError, match=message):
        clip_config(settings, projected=False)


def test_the_first_t5_is_refused():
    with pytest.raises(DataError, match="feed_forward_proj"):
        t5_config({"feed_forward_proj": "relu"})


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip_of_random_weights_is_what_torch_makes_of_them(activation):
    torch, transformers = _torch()
    settings = transformers.CLIPTextConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        projection_dim=20, hidden_act=activation, eos_token_id=299, bos_token_id=298, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.CLIPTextModelWithProjection(settings).eval()
    ids = torch.randint(1, 298, (3, 77))
    ids[torch.arange(3), torch.tensor([5, 40, 76])] = 299
    with torch.no_grad():
        theirs = network(ids, output_hidden_states=True)
    config = clip_config(settings.to_dict(), projected=True)
    tensors = tensors_of({name: value.numpy() for name, value in network.state_dict().items()})
    ours = encode_clip(config, nested(read_params(clip_shapes(config), CLIP_NAMES, tensors)), ids.numpy())
    assert error(ours.last, theirs.last_hidden_state.numpy()) < 1e-4
    assert error(ours.projected, theirs.text_embeds.numpy()) < 1e-4
    assert error(ours.hidden, np.stack([state.numpy() for state in theirs.hidden_states])) < 1e-4


@pytest.mark.slow
def test_t5_of_random_weights_is_what_torch_makes_of_them():
    torch, transformers = _torch()
    settings = transformers.T5Config(
        vocab_size=300, d_model=48, d_kv=12, d_ff=80, num_layers=3, num_heads=5, feed_forward_proj="gated-gelu"
    )
    torch.manual_seed(0)
    network = transformers.T5EncoderModel(settings).eval()
    ids, mask = torch.randint(0, 300, (2, 200)), torch.ones(2, 200, dtype=torch.long)
    mask[0, 33:] = 0
    with torch.no_grad():
        theirs = network(ids, attention_mask=mask).last_hidden_state.numpy()
    config = t5_config(settings.to_dict())
    tensors = tensors_of({name: value.numpy() for name, value in network.state_dict().items()})
    params = nested(read_params(t5_shapes(config), T5_NAMES, tensors))
    assert error(encode_t5(config, params, ids.numpy(), mask.numpy().astype(bool)), theirs) < 1e-4


def _torch():
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        pytest.skip("needs torch and transformers")
    import torch
    import transformers

    return torch, transformers


@pytest.mark.slow
def test_t5_from_shards_is_t5(golden, t5, tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    config, params = t5
    tensors = {name: np.ascontiguousarray(value) for name, value in under(golden, "t5/sd/").items()}
    files = {name: f"model-{1 + (number % 2)}.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    (tmp_path / "config.json").write_text(str(golden["t5/config"]))
    ids, mask = golden["pas/ids"].astype(np.int32), golden["pas/mask"].astype(bool)
    seen = []
    found = encode_t5_folder(tmp_path, ids, mask, batch=1, progress=lambda done, count: seen.append((done, count)))
    assert error(found, encode_t5(config, params, ids, mask)) < 1e-5
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.slow
def test_prompts_go_through_the_tokenizers_and_encoders_of_a_folder(golden, golden_folder, tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    words = {
        sign: number for number, sign in enumerate(["!", "a", "c", "t", "a</w>", "c</w>", "t</w>", "ca", "cat</w>"])
    }
    words |= {"<|startoftext|>": 98, "<|endoftext|>": 99}
    for number, pad, source in (("", "<|endoftext|>", "clip1"), ("_2", "!", "clip2")):
        tokenizer, encoder = tmp_path / f"tokenizer{number}", tmp_path / f"text_encoder{number}"
        tokenizer.mkdir()
        encoder.mkdir()
        (tokenizer / "vocab.json").write_text(json.dumps(words))
        (tokenizer / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
        (tokenizer / "special_tokens_map.json").write_text(json.dumps({"pad_token": pad}))
        settings = json.loads(str(golden[f"sd3/{source}/config"]))
        settings |= {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model"}
        (encoder / "config.json").write_text(json.dumps(settings))
        tensors = under(golden, f"sd3/{source}/sd/")
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, encoder / "model.safetensors")
    assert prompt_kind(tmp_path) == "sdxl"
    found = encode_prompts(tmp_path, ["a cat", "", "cat " * 80])
    assert found.mask is None and found.cut == (0, 0, 5)
    rows = np.full((2, 3, 77), 99)
    rows[1] = 0
    for texts in rows:
        texts[0, :4], texts[1, :2] = [98, 4, 8, 99], [98, 99]
        texts[2] = [98, *[8] * 75, 99]
    expected = [
        encode_clip(*clip(golden, f"sd3/{name}", True), ids) for name, ids in zip(("clip1", "clip2"), rows, strict=True)
    ]
    tokens, pooled = sdxl_embeddings(*expected)
    assert error(found.tokens, tokens) < 1e-5 and error(found.pooled, pooled) < 1e-5
    (tmp_path / "tokenizer_3").mkdir()
    assert prompt_kind(tmp_path) == "sd3"
    assert encode_prompts(tmp_path, ["a cat"], use_t5=False).tokens.shape == (1, 154, 4096)
    with pytest.raises(DataError, match="has no tokenizer"):
        encode_prompts(tmp_path, ["a cat"])
    (tmp_path / "text_encoder_2" / "model.safetensors").unlink()
    with pytest.raises(DataError, match="downloaded whole"):
        encode_prompts(tmp_path, ["a cat"], kind="sdxl")
    with pytest.raises(UserError, match="no text encoder"):
        prompt_kind(golden_folder)
    with pytest.raises(UserError, match="no prompt"):
        encode_prompts(tmp_path, [])
