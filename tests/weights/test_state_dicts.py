"""State dicts in folders, tensor by tensor, and what is wrong with them in one line."""

import json
import types

import ml_dtypes
import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.weights import Naming, nested, open_tensors, read_params, tensors_of, write_params

NAMING = Naming(
    ((r"^input$", "conv_in"), (r"^blocks\.", "layers.{i}."), (r"\.norm$", ".layer_norm")),
    pointwise=r"\.mix$",
    left_out=r"^unused\.",
)
SHAPES = {
    "input": {"kernel": (3, 3, 2, 5), "bias": (5,)},
    "table": {"embedding": (7, 4)},
    "blocks": {"norm": {"scale": (3, 4)}, "product": {"kernel": (3, 4, 6)}, "mix": {"kernel": (3, 4, 4)}},
}


def shapes(tree):
    return {
        name: shapes(value) if isinstance(value, dict) else types.SimpleNamespace(shape=value)
        for name, value in tree.items()
    }


@pytest.fixture
def published():
    random = np.random.default_rng(0)
    sizes = {"conv_in.weight": (5, 2, 3, 3), "conv_in.bias": (5,), "table.weight": (7, 4)}
    for i in range(3):
        sizes |= {f"layers.{i}.layer_norm.weight": (4,), f"layers.{i}.product.weight": (6, 4)}
        sizes |= {f"layers.{i}.mix.weight": (4, 4, 1, 1)}
    return {name: random.normal(size=size).astype(np.float32) for name, size in sizes.items()}


def read(tensors, **options):
    return nested(read_params(shapes(SHAPES), NAMING, tensors, **options))


def test_axes_are_turned_and_layers_stacked(published):
    params = read(tensors_of(published | {"unused.weight": np.ones(3)}))
    assert params["input"]["kernel"][0, 2, 1, 4] == published["conv_in.weight"][4, 1, 0, 2]
    assert params["blocks"]["product"]["kernel"][1, 3, 5] == published["layers.1.product.weight"][5, 3]
    assert params["blocks"]["mix"]["kernel"][2, 0, 3] == published["layers.2.mix.weight"][3, 0, 0, 0]
    np.testing.assert_array_equal(params["table"]["embedding"], published["table.weight"])
    written = dict(write_params(params, NAMING))
    assert written.keys() == published.keys()
    assert all(np.array_equal(written[name], published[name]) for name in published)


def test_one_layer_and_one_part_can_be_read_alone(published):
    asked = []
    tensors = tensors_of(published)
    tensors._read = lambda name: asked.append(name) or published[name]
    block = read(tensors, part=("blocks",), layer=2)["blocks"]
    np.testing.assert_array_equal(block["norm"]["scale"], published["layers.2.layer_norm.weight"])
    assert all(name.startswith("layers.2.") for name in asked)
    assert read(tensors, part=("input",)).keys() == {"input"}
    assert read(tensors, dtype=ml_dtypes.bfloat16)["table"]["embedding"].dtype == ml_dtypes.bfloat16


def test_everything_that_does_not_fit_is_said_at_once(published):
    del published["conv_in.bias"]
    published["extra.weight"] = np.zeros(2)
    published["table.weight"] = np.zeros((7, 5))
    with pytest.raises(DataError) as caught:
        read(tensors_of(published))
    for part in (
        "conv_in.bias is missing",
        "extra.weight is unknown",
        "table.weight has shape (7, 5) instead of (7, 4)",
    ):
        assert part in str(caught.value)


def test_numbers_that_are_not_finite_are_refused(published):
    published["layers.1.product.weight"][0, 0] = np.nan
    with pytest.raises(DataError, match=r"layers\.1\.product\.weight is not finite"):
        read(tensors_of(published))


@pytest.fixture
def save():
    return pytest.importorskip("safetensors.numpy").save_file


@pytest.mark.parametrize("name", ["model.safetensors", "diffusion_pytorch_model.safetensors"])
def test_a_folder_and_its_file_are_read_alike(published, save, tmp_path, name):
    save(published, tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        found = open_tensors(path)
        assert set(found) == set(published) and len(found) == len(published)
        assert all(np.array_equal(found[key], published[key]) for key in published)
        with pytest.raises(KeyError):
            found["another"]


def test_variants_and_bfloat16(published, save, tmp_path):
    half = {name: array.astype(ml_dtypes.bfloat16) for name, array in published.items()}
    save(half, tmp_path / "model.fp16.safetensors")
    params = read(open_tensors(tmp_path, variant="fp16"))
    np.testing.assert_array_equal(params["table"]["embedding"], half["table.weight"].astype(np.float32))
    with pytest.raises(DataError, match=r"has no model\.safetensors.*it has model\.fp16\.safetensors"):
        open_tensors(tmp_path)


def shards(published, save, folder):
    names = sorted(published)
    files = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(files.values()):
        save({name: published[name] for name in names if files[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return index, files


def test_shards_are_read_by_their_index(published, save, tmp_path):
    shards(published, save, tmp_path)
    found = open_tensors(tmp_path)
    assert all(np.array_equal(found[key], published[key]) for key in published)


def test_a_folder_that_is_not_whole_is_named(published, save, tmp_path):
    index, files = shards(published, save, tmp_path)
    (tmp_path / files["conv_in.bias"]).rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(DataError, match=f"is not whole: {files['conv_in.bias']}"):
        open_tensors(tmp_path)
    (tmp_path / "elsewhere.safetensors").rename(tmp_path / files["conv_in.bias"])
    for change, message in (
        ({"weight_map": {"conv_in.bias": "../secret.safetensors"}}, "outside of its folder"),
        ({"weight_map": files | {"another": files["conv_in.bias"]}}, "is not in the shard"),
        ({"metadata": {}}, "no weight_map"),
    ):
        index.write_text(json.dumps(change))
        with pytest.raises(DataError, match=message):
            open_tensors(tmp_path)


def test_nothing_and_damage_are_named(published, save, tmp_path):
    with pytest.raises(UserError, match="there is no"):
        open_tensors(tmp_path / "nowhere")
    with pytest.raises(DataError, match="was it downloaded whole"):
        open_tensors(tmp_path)
    file = tmp_path / "model.safetensors"
    save(published, file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match="truncated"):
        open_tensors(tmp_path)
    save({"conv_in.bias": np.zeros(5, np.int8)}, file)
    with pytest.raises(DataError, match="conv_in.bias is I8"):
        open_tensors(file)["conv_in.bias"]
