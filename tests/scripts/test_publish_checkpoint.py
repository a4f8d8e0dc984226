"""The publishing script end to end: a folder, its card, its safetensors, and the hub in the layout of its cache."""

import importlib.util
import json
import os
import pathlib
import shutil
import sys

import jax
import numpy as np
import pytest

import diffgs_jax
from diffgs_jax.errors import UserError
from diffgs_jax.inference import BUNDLED_CHECKPOINT

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "publish_checkpoint.py"
huggingface_hub = pytest.importorskip("huggingface_hub", reason='the hub needs pip install "diffgs_jax[hub]"')


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("publish_checkpoint", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["publish_checkpoint"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["publish_checkpoint"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that is a folder: what is uploaded lies in the cache as if it had been downloaded."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    told = []

    class FolderApi:
        def create_repo(self, name, *, private, exist_ok):
            told.append((name, private, exist_ok))
            return f"https://hub.example/{name}"

        def upload_folder(self, *, repo_id, folder_path, delete_patterns):
            place = cache / f"models--{repo_id.replace('/', '--')}"
            blobs, snapshot = place / "blobs", place / "snapshots" / ("0" * 40)
            (place / "refs").mkdir(parents=True)
            (place / "refs" / "main").write_text("0" * 40)
            blobs.mkdir()
            for number, file in enumerate(sorted(file for file in folder_path.rglob("*") if file.is_file())):
                link = snapshot / file.relative_to(folder_path)
                link.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, blobs / str(number))
                link.symlink_to(os.path.relpath(blobs / str(number), link.parent))

    monkeypatch.setattr(huggingface_hub, "HfApi", FolderApi)
    return told


@pytest.mark.slow
def test_published_and_loaded(script, hub, tmp_path, capsys):
    safetensors = pytest.importorskip("safetensors", reason='pip install "diffgs_jax[import]"')
    out = tmp_path / "chairs"
    script.main(
        script.PublishConfig(
            BUNDLED_CHECKPOINT, out, safetensors=True, hub="someone/chairs", private=True, license="cc-by-4.0"
        )
    )
    assert hub == [("someone/chairs", True, True)]
    assert "hub:someone/chairs" in capsys.readouterr().out
    pipeline = diffgs_jax.load("hub:someone/chairs")
    original = diffgs_jax.load()
    for ours, theirs in zip(jax.tree.leaves(pipeline.params), jax.tree.leaves(original.params), strict=True):
        np.testing.assert_allclose(np.asarray(ours, np.float32), np.asarray(theirs, np.float32), rtol=2**-8)

    with safetensors.safe_open(out / "model.safetensors", "flax") as file:
        assert json.loads(file.metadata()["config"])["model"]["kind"] == "diffusion_gs"
        stored = {name: file.get_tensor(name) for name in file.keys()}
    flat = jax.tree_util.tree_flatten_with_path(pipeline.params)[0]
    assert len(stored) == len(flat)
    for place, leaf in flat:
        name = "/".join(key.key for key in place)
        np.testing.assert_array_equal(np.asarray(stored[name], np.float32), np.asarray(leaf, np.float32))

    card = (out / "README.md").read_text()
    head = card.split("---")[1]
    assert "license: cc-by-4.0" in head and "pipeline_tag: image-to-3d" in head and "library_name: diffgs_jax" in head
    assert 'load("hub:someone/chairs")' in card and "Makes 3D Gaussians of one picture" in card
    parameters = sum(leaf.size for leaf in jax.tree.leaves(original.params)) / 1e6
    assert f"| parameters | {parameters:.1f} million |" in card and "64 × 64 pixels" in card


def test_what_the_hub_does_not_have_is_one_line(hub, monkeypatch):
    for name in ("hub:nobody/nothing", "hub:nobody/nothing@v1", "hub:nothing", "hub:a/b/c", "hub:no body/!"):
        with pytest.raises(UserError) as error:
            diffgs_jax.load(name)
        assert "\n" not in str(error.value) and name.removeprefix("hub:").split("@")[0] in str(error.value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="diffgs_jax\\[hub\\]"):
        diffgs_jax.load("hub:nobody/nothing")


def test_a_wrong_name_is_refused_before_any_work(script, tmp_path):
    with pytest.raises(UserError, match="owner/name"):
        script.main(script.PublishConfig(tmp_path / "run", tmp_path / "out", hub="chairs"))
    assert not (tmp_path / "out").exists()
