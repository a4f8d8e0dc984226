"""The import script end to end: published files in, checkpoints out that compute what the published code computed."""

import collections
import importlib.util
import os
import pathlib
import pickle
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import diffgs_jax
from diffgs_jax import sample
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT, SCENE, Cameras, Gaussians, Views, covariances, mirror_cameras
from diffgs_jax.models.diffusion_gs.denoiser import predict_gaussians

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "import_checkpoint.py"
# Their world and ours differ in x and y changing places, for objects alone.
MIRROR = {"object": np.asarray([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32), "scene": np.eye(3, dtype=np.float32)}
predict_gaussians = jax.jit(predict_gaussians, static_argnums=0)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("import_checkpoint", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["object", "scene"])
def golden(request):
    with np.load(ROOT / "tests" / "golden" / f"open_diffusiongs_{request.param}.npz") as file:
        return request.param, dict(file)


def state_dict(golden, prefix=""):
    return {prefix + name[3:]: golden[name] for name in golden if name.startswith("sd/")}


def torch_dict(golden, prefix=""):
    torch = pytest.importorskip("torch")
    return collections.OrderedDict((name, torch.from_numpy(a)) for name, a in state_dict(golden, prefix).items())


def lightning(golden):
    """What a LightningModule with an AdamW optimizer and a perceptual loss is saved as."""
    torch = pytest.importorskip("torch")
    weights = torch_dict(golden, "shape_model.")
    moments = {i: {"step": torch.tensor(5.0), "exp_avg": torch.zeros_like(w)} for i, w in enumerate(weights.values())}
    weights["loss_computer.lpips_loss_module.scaling_layer.shift"] = torch.zeros(1, 3, 1, 1)
    weights["loss_computer.ssim_loss_module.ssim_module.win"] = torch.zeros(3, 1, 1, 11)
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": weights,
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": None, "dirpath": "x"}},
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 1e-5, "betas": [0.9, 0.99]}]}],
        "MixedPrecision": {"scale": 65536.0},
    }


def save_torch(saved, file):
    pytest.importorskip("torch").save(saved, file)


save_safetensors = safetensors.numpy.save_file


WRITERS = {
    "obj_ckpt_512.ckpt": lambda golden, file: save_torch(lightning(golden), file),
    "plain.pt": lambda golden, file: save_torch(torch_dict(golden), file),
    "first_stage.pt": lambda golden, file: save_torch({"model": torch_dict(golden, "denoiser.")}, file),
    "model.safetensors": lambda golden, file: save_safetensors(state_dict(golden, "shape_model."), file),
}


@pytest.mark.parametrize("name", WRITERS)
def test_an_imported_checkpoint_computes_what_the_published_code_does(script, golden, name, tmp_path, capsys):
    domain, values = golden
    WRITERS[name](values, tmp_path / name)
    script.main(script.ImportConfig(tmp_path / name, tmp_path / "out", domain=domain, head_dim=16))
    assert f"{domain} model of 2 layers of width 64" in capsys.readouterr().out
    pipeline = diffgs_jax.load(tmp_path / "out")
    config = pipeline.config
    assert config.data.resolution == (512 if "512" in name else 256)
    assert (config.sampling.sampler, config.sampling.steps) == ("ddpm", 30)
    assert config.model.mirrored_world == (domain == "object") and config.data.scene_frame == "mean_camera"

    images = np.ascontiguousarray(np.moveaxis(values["images"], 2, -1))
    batch, count, height, width, _ = images.shape
    cameras = Cameras(values["c2w"], values["fxfycxcy"] / np.asarray([width, height, width, height], np.float32))
    if domain == "object":
        cameras = mirror_cameras(cameras)  # into our world: there and back is the same
    numbers = np.full((batch,), OBJECT if domain == "object" else SCENE, np.int32)
    views = Views(images, cameras, np.zeros((batch, count), bool), numbers)
    ours = predict_gaussians(config.model, pipeline.params, views, values["t"])

    theirs = in_image_order(values, batch, count, height, width, free=config.model.network.free_gaussians)
    np.testing.assert_allclose(ours.means, theirs.means @ MIRROR[domain], rtol=1e-4, atol=1e-4)
    mirrored = MIRROR[domain] @ np.asarray(covariances(theirs.rotations, theirs.scales)) @ MIRROR[domain]
    np.testing.assert_allclose(covariances(ours.rotations, ours.scales), mirrored, atol=1e-5)
    np.testing.assert_allclose(ours.opacities, theirs.opacities, atol=1e-5)
    np.testing.assert_allclose(ours.sh, theirs.sh, atol=1e-4)


def in_image_order(values, batch, count, height, width, free, patch=8):
    """The published outputs, activated as published and sorted as ours: free ones, then (view, row, column)."""

    def sort(array):
        array = array.reshape(batch, array.shape[1], -1)
        grid = array[:, free:].reshape(batch, count, height // patch, width // patch, patch, patch, -1)
        grid = grid.transpose(0, 1, 2, 4, 3, 5, 6).reshape(batch, count * height * width, -1)
        return np.concatenate([array[:, :free], grid], axis=1)

    opacities = 1 / (1 + np.exp(-sort(values["opacity"])[..., 0]))
    sh = sort(values["features"])[..., None, :]
    scales, rotations = np.exp(sort(values["scaling"])), sort(values["rotation"])
    return Gaussians(*map(jax.numpy.asarray, (sort(values["xyz"]), rotations, scales, opacities, sh)))


@pytest.mark.slow
def test_the_command_line_imports_and_samples(script, golden, tmp_path, monkeypatch):
    domain, values = golden
    if domain == "scene":
        pytest.skip("a scene is not sampled from one picture of an object")
    save_safetensors(state_dict(values, "shape_model."), tmp_path / "model.safetensors")
    picture = np.pad(np.full((40, 30, 3), 90, np.uint8), ((10, 14), (16, 18), (0, 0)), constant_values=255)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    words = "--in model.safetensors --out model --resolution 16 --head-dim 16"
    script.main(parse_options(script.ImportConfig, words.split()))
    sample.main("--checkpoint model --image picture.png --out sample --steps 2 --frames 0".split())
    assert (tmp_path / "sample" / "gaussians.ply").stat().st_size > 50_000


class Malicious:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"touch {self.flag}",)


def test_what_cannot_be_imported_is_one_line_and_leaves_nothing(script, golden, tmp_path):
    domain, values = golden
    other = "scene" if domain == "object" else "object"
    good = tmp_path / "good.safetensors"
    save_safetensors(state_dict(values), good)
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-4000])
    (tmp_path / "picture.ckpt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "empty.ckpt").touch()
    save_safetensors({"conv.weight": np.ones(3, np.float32)}, tmp_path / "foreign.safetensors")
    save_safetensors(state_dict(values, "a.") | state_dict(values, "b."), tmp_path / "two.safetensors")
    save_safetensors(state_dict(values) | {"upsampler.layernorm.weight": np.full(64, np.nan)}, tmp_path / "nan.ckpt")
    with zipfile.ZipFile(tmp_path / "malicious.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": Malicious(tmp_path / "flag")}, protocol=2))
    whole = (tmp_path / "malicious.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) - 30])
    expected = {
        ("missing.ckpt", None): (UserError, "cannot read .*: No such file"),
        ("picture.ckpt", None): (DataError, "neither a file of torch.save nor a .safetensors file"),
        ("empty.ckpt", None): (DataError, "neither a file of torch.save nor a .safetensors file"),
        ("cut.ckpt", None): (DataError, "cut.ckpt is truncated"),
        ("cut.safetensors", None): (DataError, "cut.safetensors is truncated"),
        ("foreign.safetensors", None): (
            DataError,
            "holds no model that can be imported: 1 tensors, conv.weight among them",
        ),
        ("two.safetensors", None): (DataError, "holds several networks; give --prefix one of 'a.', 'b.'"),
        ("nan.ckpt", None): (DataError, "nan.ckpt: .*upsampler.layernorm.weight is not finite"),
        ("malicious.ckpt", None): (DataError, "malicious.ckpt: its pickle asks for .*system.*; it is not run"),
        ("good.safetensors", other): (DataError, f"trained for {domain}s, not for {other}s"),
    }
    for (name, wanted), (kind, message) in expected.items():
        with pytest.raises(kind, match=message) as caught:
            script.main(script.ImportConfig(tmp_path / name, tmp_path / "out", domain=wanted, head_dim=16))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists() and not (tmp_path / "flag").exists()
    script.convert(script.ImportConfig(tmp_path / "two.safetensors", tmp_path / "out", prefix="b.", head_dim=16))
    with pytest.raises(UserError, match="do not divide"):
        script.convert(script.ImportConfig(good, tmp_path / "out", head_dim=48))
    for wrong in ({"head_dim": 0}, {"head_dim": 16, "resolution": -8}):
        with pytest.raises(UserError, match="or more, not"):
            script.convert(script.ImportConfig(good, tmp_path / "out", **wrong))
    with pytest.raises(UserError, match="data.resolution 60 must be a multiple"):
        script.convert(script.ImportConfig(good, tmp_path / "out", head_dim=16, resolution=60))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="add --overwrite"):
        script.main(script.ImportConfig(good, tmp_path / "out", head_dim=16))


def test_every_wrong_tensor_is_listed_at_once(script, golden, tmp_path):
    domain, values = golden
    weights = state_dict(values, "shape_model.")
    del weights["shape_model.gaussians_pos_embedding"], weights["shape_model.transformer.0.attn.qkv.bias"]
    weights["shape_model.transformer.0.attn.q_norm.weight"] = np.ones(16)
    weights["shape_model.transformer.1.attn.q_norm.weight"] = np.ones(16)
    weights["shape_model.upsampler.layernorm.weight"] = np.ones(63)
    weights["loss_computer.lpips_loss_module.scaling_layer.shift"] = np.ones(3)
    save_safetensors(weights, tmp_path / "bad.safetensors")
    with pytest.raises(DataError) as caught:
        script.main(script.ImportConfig(tmp_path / "bad.safetensors", tmp_path / "out", domain=domain, head_dim=16))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'bad.safetensors'}: not an Open-DiffusionGS {domain} checkpoint: ")
    assert set(message.split("checkpoint: ")[1].split("; ")) == {
        "gaussians_pos_embedding is missing",
        "transformer.0.attn.qkv.bias is missing",
        "transformer.0-1.attn.q_norm.weight is unknown",
        "upsampler.layernorm.weight has shape (63,) instead of (64,)",
    }
