"""The script that encodes prompts: from a published folder to arrays."""

import importlib.util
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models.layers.text_encoders import T5_NAMES, T5Config, encode_t5, load_tokenizer, t5_shapes, tokenize
from diffgs_jax.weights import nested, read_params, tensors_of, write_params

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "embed_prompts.py"
CONFIG = T5Config(vocabulary=1600, width=16, head_width=4, hidden=24, layers=2, heads=2)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("embed_prompts", SCRIPT)
    module = sys.modules["embed_prompts"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_without_prompts_are_refused(script, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text(" a red chair\n\n  \na lamp\n", encoding="utf-8")
    assert script.read_prompts(file) == ["a red chair", "a lamp"]
    file.write_text("\n")
    with pytest.raises(UserError, match="no prompt"):
        script.read_prompts(file)
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="UTF-8"):
        script.read_prompts(file)


@pytest.mark.slow
def test_prompts_of_pixart_become_arrays(script, golden_folder, tmp_path, capsys):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    tokenizer, encoder = tmp_path / "model" / "tokenizer", tmp_path / "model" / "text_encoder"
    tokenizer.mkdir(parents=True)
    encoder.mkdir()
    shutil.copy(golden_folder / "spiece.model", tokenizer)
    random, tree = np.random.default_rng(0), t5_shapes(CONFIG)
    fill = lambda leaf: random.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    tensors = dict(write_params(nested_map(fill, tree), T5_NAMES))
    save_file(tensors, encoder / "model.safetensors")
    settings = {"model_type": "t5", "feed_forward_proj": "gated-gelu", "vocab_size": 1600, "d_model": 16, "d_kv": 4}
    settings |= {"d_ff": 24, "num_layers": 2, "num_heads": 2}
    (encoder / "config.json").write_text(json.dumps(settings))
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("A *shiny* chair!\n" + "long " * 40)
    out = tmp_path / "prompts.npz"
    options = ["--model", str(tmp_path / "model"), "--prompts", str(prompts), "--out", str(out), "--t5-length", "20"]
    script.main(parse_options(script.Arguments, options, description="test"))
    assert "tokens too long, and cut: long long" in capsys.readouterr().err
    with np.load(out) as file:
        found = dict(file)
    assert list(found["prompts"]) == ["A *shiny* chair!", ("long " * 40).strip(), ""]
    texts = tokenize(load_tokenizer(tokenizer), ["a shiny chair!", "long " * 40, ""], 20)
    np.testing.assert_array_equal(found["mask"], texts.mask)
    params = nested(read_params(tree, T5_NAMES, tensors_of(tensors)))
    expected = np.asarray(encode_t5(CONFIG, params, texts.ids, texts.mask))
    np.testing.assert_allclose(found["tokens"], expected, atol=1e-4 * np.abs(expected).max())
    with pytest.raises(UserError, match="exists"):
        script.main(parse_options(script.Arguments, options, description="test"))


def nested_map(function, tree):
    return {
        name: nested_map(function, value) if isinstance(value, dict) else function(value)
        for name, value in tree.items()
    }
