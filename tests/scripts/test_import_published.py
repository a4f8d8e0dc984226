"""Published DiffSplat folders and folders of diffusers become checkpoints that compute what the published code did."""

import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest
import safetensors.numpy

from diffgs_jax.checkpoints import read_metadata
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.inference import estimate_elevation, load_estimator
from diffgs_jax.models import family
from diffgs_jax.models.stored import load_stored

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("import_published", ROOT / "scripts" / "import_checkpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden(name):
    with np.load(ROOT / "tests" / "golden" / f"diffsplat_{name}.npz") as file:
        return dict(file)


def state_of(values):
    return {name[3:]: values[name] for name in values if name.startswith("sd/")}


def published(folder, tensors, iteration="000020"):
    """The layout of the published folders, with an older iteration beside."""
    for number in (iteration, "000003"):
        (folder / "checkpoints" / number).mkdir(parents=True)
    safetensors.numpy.save_file(tensors, folder / "checkpoints" / iteration / "model.safetensors")
    return folder


@pytest.mark.slow
def test_a_published_reconstructor_is_imported_through_the_same_command(script, tmp_path, capsys):
    """What it computes, its own golden test says; here every weight is held against its tensor."""
    tensors = state_of(golden("gsrecon"))
    folder = published(tmp_path / "gsrecon_gobj265k_cnp_even4", tensors)
    width = len(tensors["x_embedder.bias"])
    script.main(script.ImportConfig(folder, tmp_path / "out", head_dim=width // 4))
    assert "of colours, normals and coordinates and rays" in capsys.readouterr().out
    model = load_stored(tmp_path / "out", "sampling")
    assert model.config.network.plucker == "official" and model.config.frame.up == "y"
    np.testing.assert_array_equal(model.params["embedding"]["kernel"], tensors["x_embedder.weight"].T)
    np.testing.assert_array_equal(
        model.params["trunk"]["blocks"]["attn"]["wo"]["kernel"][-1],
        tensors[f"transformer.blocks.{model.config.network.layers - 1}.attn.wo.weight"].T,
    )


def test_a_published_estimator_predicts_what_it_did(script, tmp_path, capsys):
    values = golden("elevest")
    folder = published(tmp_path / "elevest_gobj265k_b_C25", state_of(values))
    words = f"--in {folder} --out {tmp_path / 'out'} --head-dim 12"
    script.main(parse_options(script.ImportConfig, words.split()))
    assert "estimator of elevations of 2 layers of width 48 from " in capsys.readouterr().out
    estimator = load_estimator(tmp_path / "out")
    assert estimator.resolution == 224
    picture = np.moveaxis(values["b/image_u8"][0], 0, -1).astype(np.float32) / 255
    assert estimate_elevation(estimator, picture) == pytest.approx(-float(values["b/elevation"][0]), abs=0.02)


@pytest.mark.slow
def test_a_published_autoencoder_encodes_what_it_did(script, tmp_path, capsys):
    values = golden("gsvae_sd")
    folder = published(tmp_path / "gsvae_gobj265k_sdxl_fp16", state_of(values))
    script.main(script.ImportConfig(folder, tmp_path / "out", groups=8))
    assert (
        "autoencoder of 12-channel grids with latents of 4 channels, scaled by 0.13025, from "
        in capsys.readouterr().out
    )
    model = load_stored(tmp_path / "out", "sampling")
    encode = jax.jit(lambda x: family(model.config).encode(model.config, model.params, x))
    latents = encode(np.moveaxis(values["in/grid"], 1, -1))
    expected = 0.13025 * np.moveaxis(values["mean"], 1, -1)
    np.testing.assert_allclose(latents, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def image_autoencoder(values, former=False):
    """The published names of diffusers alone, with the 3-channel ends that the golden file keeps beside."""
    tensors = {name.removeprefix("vae."): tensor for name, tensor in state_of(values).items() if name.startswith("vae")}
    for name in ("encoder.conv_in.weight", "decoder.conv_out.weight", "decoder.conv_out.bias"):
        tensors[name] = values[f"tile/{name}/before"]
    if former:
        names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for name in [name for name in tensors if ".attentions." in name]:
            for now, then in names.items():
                if f".{now}." in name:
                    tensors[name.replace(now, then)] = tensors.pop(name)
    return tensors


@pytest.mark.slow
def test_a_folder_of_diffusers_becomes_an_autoencoder_of_images_or_the_start_of_one_of_grids(script, tmp_path):
    values = golden("gsvae_sd")
    described = {"norm_num_groups": 8, "scaling_factor": 0.5, "shift_factor": None}
    for number, former in enumerate((False, True)):
        folder = tmp_path / f"vae{number}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(described))
        tensors = image_autoencoder(values, former)
        safetensors.numpy.save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    script.main(script.ImportConfig(tmp_path / "vae0", tmp_path / "images"))
    script.main(script.ImportConfig(tmp_path / "vae1", tmp_path / "grids", channels=12))
    images, grids = (load_stored(tmp_path / name, "sampling") for name in ("images", "grids"))
    assert images.config.network.channels == 3 and images.config.tiny.width == 0
    assert (images.config.scaling_factor, images.config.shift_factor) == (0.5, 0)
    saved = from_dict(read_metadata(tmp_path / "images")["config"])
    family(saved.model).check(saved.model, saved.data)
    assert grids.config.network.channels == 12
    ours, tiled = (model.params["autoencoder"] for model in (images, grids))
    first = np.moveaxis(values["tile/encoder.conv_in.weight/after"], (0, 1), (3, 2))
    np.testing.assert_array_equal(tiled["encoder"]["input"]["kernel"], first)
    assert ours["encoder"]["input"]["kernel"].shape[2] == 3
    # An older name of attention's products says the same
    for one, other in zip(
        jax.tree.leaves(ours["encoder"]["middle"]), jax.tree.leaves(tiled["encoder"]["middle"]), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_everything_that_is_wrong_with_published_weights_is_told_at_once(script, tmp_path):
    tensors = state_of(golden("elevest"))
    del tensors["backbone.blocks.1.ls2.gamma"], tensors["cls_head.0.bias"]
    tensors["backbone.extra"] = np.ones(3, np.float32)
    tensors["backbone.norm.weight"] = np.ones(47, np.float32)
    folder = published(tmp_path / "elevest", tensors)
    with pytest.raises(DataError) as caught:
        script.main(script.ImportConfig(folder, tmp_path / "out", head_dim=12))
    for problem in ("ls2.weight", "cls_head.0.bias", "backbone.extra", "(47,) instead of (48,)"):
        assert problem in str(caught.value)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
    tensors = state_of(golden("elevest"))
    for name in ("backbone.norm.weight", "cls_head.0.bias"):
        tensors[name] = np.full_like(tensors[name], np.nan)
    folder = published(tmp_path / "nan", tensors)
    with pytest.raises(DataError, match=r"(?=.*backbone.norm.weight)(?=.*cls_head.0.bias).* not finite"):
        script.main(script.ImportConfig(folder, tmp_path / "out", head_dim=12))
    assert not (tmp_path / "out").exists()


def test_what_is_no_published_folder_is_one_line(script, tmp_path):
    elevest = published(tmp_path / "elevest", state_of(golden("elevest")))
    foreign = published(tmp_path / "foreign", {"conv.weight": np.ones(3, np.float32)})
    (tmp_path / "bare").mkdir()
    (tmp_path / "none" / "checkpoints").mkdir(parents=True)
    for config, kind, message in (
        (script.ImportConfig(elevest, tmp_path / "out", channels=12), UserError, "--channels says nothing of what"),
        (script.ImportConfig(elevest, tmp_path / "out", domain="scene"), UserError, "--domain says nothing of what"),
        (script.ImportConfig(elevest, tmp_path / "out", head_dim=0), UserError, "1 feature or more"),
        (script.ImportConfig(elevest, tmp_path / "out", head_dim=36), UserError, "do not divide"),
        (script.ImportConfig(foreign, tmp_path / "out"), DataError, "no model that can be imported: 1 tensors, conv"),
        (script.ImportConfig(tmp_path / "bare", tmp_path / "out"), DataError, "was it downloaded whole"),
        (script.ImportConfig(tmp_path / "none", tmp_path / "out"), DataError, "no folder of an iteration"),
    ):
        with pytest.raises(kind, match=message) as caught:
            script.main(config)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
