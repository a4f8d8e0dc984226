"""The refining and distilling commands: killed and resumed, and refused in one line."""

import json

import numpy as np
import pytest
from known import known_splat
from oracle_families import ColorsConfig

from diffgs_jax import optimization, optimize
from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import TrainConfig, to_dict
from diffgs_jax.data import DataConfig, encode_record
from diffgs_jax.data.store import write_store
from diffgs_jax.interop import read_gaussians, write_gaussians

REFINE = "--steps 40 --capacity 12 --preview-every 20 --resolution 24 --save-seconds 0".split()
DISTIL = "--steps 40 --capacity 32 --start-count 24 --preview-every 20 --save-seconds 0 --distillation.kind vsd".split()


@pytest.fixture(scope="module")
def folder(record, tmp_path_factory):
    """A record store, a splat and a checkpoint of the family of colours."""
    path = tmp_path_factory.mktemp("guided")
    write_store(path / "store", {"test": [(record.uid, lambda: encode_record(record))]}, {"name": "known"})
    random = np.random.default_rng(0)
    truth = known_splat()
    write_gaussians(path / "start.ply", truth._replace(sh=truth.sh + random.normal(0, 0.4, truth.sh.shape)))
    data = DataConfig(resolution=24, condition_views=0, noisy_views=1, novel_views=0)
    config = TrainConfig(model=ColorsConfig(), data=data)
    params = {"nothing": np.zeros(1, np.float32)}
    save_weights(path / "colors", 1, params, {"config": to_dict(config), "counters": {"samples": 0}})
    return path


def refine(folder, out, *more):
    words = ["refine", "--start", folder / "start.ply", "--data", folder / "store", "--views", "0", "--out", out]
    optimize.main([str(word) for word in (*words, *REFINE, *more)])


def distil(folder, out, *more):
    words = ["distil", "--checkpoints", folder / "colors", "--labels", "0", "1", "2", "--out", out]
    optimize.main([str(word) for word in (*words, *DISTIL, *more)])


@pytest.mark.long
@pytest.mark.parametrize("command", [refine, distil])
def test_killed_work_goes_on_to_the_same_splat(command, folder, tmp_path, monkeypatch, capsys):
    command(folder, tmp_path / "whole")
    said = capsys.readouterr().out
    name = f"{command.__name__}.json"
    told = json.loads((tmp_path / "whole" / name).read_text())
    made = {path.name for path in (tmp_path / "whole").iterdir()}
    assert made == {"gaussians.ply", "round.png", name, "previews"} | ({"views.png"} if command is refine else set())
    assert told["gaussians"] == len(read_gaussians(tmp_path / "whole" / "gaussians.ply").opacities)
    if command is refine:
        before, after = told["scores"]["before"], told["scores"]["after"]
        assert after["fitted"]["psnr"] > before["fitted"]["psnr"] + 3
        assert len(after["of_each_held_out"]["psnr"]) == 15
        assert f"to {after['fitted']['bbox_psnr']:.2f} dB" in said

    real = optimization.guide

    def killed(*arguments, **options):
        for now in real(*arguments, **options):
            yield now
            if now.step >= 20:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optimization, "guide", killed)
        with pytest.raises(SystemExit) as stop:
            command(folder, tmp_path / "parts")
    assert stop.value.code == 130 and not (tmp_path / "parts" / name).exists()
    command(folder, tmp_path / "parts")
    ours, theirs = ((tmp_path / part / "gaussians.ply").read_bytes() for part in ("parts", "whole"))
    assert ours == theirs
    assert not list(tmp_path.glob("*.partial-*"))


def refused(capsys, code, *words):
    with pytest.raises(SystemExit) as stop:
        optimize.main([str(word) for word in words])
    error = capsys.readouterr().err
    assert stop.value.code == code and error.count("\n") == 1, error
    return error


def test_what_cannot_be_refined_or_distilled_is_one_line(folder, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    start = ("refine", "--start", folder / "start.ply", *out)
    given = ("--data", folder / "store", "--views", "0")
    assert "nothing to match" in refused(capsys, 2, *start)
    assert "names [16]" in refused(capsys, 2, *start, "--data", folder / "store", "--views", "16")
    assert "--memory 1e-05" in refused(capsys, 2, *start, *given, "--memory", "1e-5")
    assert "12 Gaussians, more than --capacity 8" in refused(capsys, 2, *start, *given, "--capacity", "8")
    assert "sample.json" in refused(capsys, 2, "refine", "--start", folder, *out, *given)
    assert "--image and --data" in refused(capsys, 2, *start, *given, "--image", "chair.png")
    (tmp_path / "posed").mkdir()
    (tmp_path / "posed" / "transforms.json").write_text('{"camera_angle_x": 0.8, "frames": [{"file_path": "a.png"}]}')
    (tmp_path / "posed" / "a.png").write_bytes(b"")
    assert "no readable pose" in refused(capsys, 1, *start, "--data", tmp_path / "posed")

    damaged = bytearray((folder / "start.ply").read_bytes())
    damaged[-4:] = np.float32(np.nan).tobytes()
    (tmp_path / "broken.ply").write_bytes(damaged)
    assert "not finite" in refused(capsys, 1, "refine", "--start", tmp_path / "broken.ply", *out, *given)

    prior = ("distil", "--checkpoints", folder / "colors", *out)
    assert "knows images of 24×24, and --resolutions asks for 48" in refused(capsys, 2, *prior, "--resolutions", "48")
    assert "makes objects of an image" in refused(capsys, 2, "distil", *out)  # the model that comes with the package
    assert "knows no words" in refused(capsys, 2, "distil", *out, "--image", "a.png", "--prompt", "a chair")
    assert "--labels is one class, or three" in refused(capsys, 2, *prior, "--labels", "0", "1")
    assert "one for each of the 1 models" in refused(capsys, 2, *prior, "--guidance", "2", "3")
    assert "leaves nothing to follow" in refused(capsys, 2, *prior, "--prior-weight", "0")
    assert "--mesh.high must be" in refused(capsys, 2, *prior, "--mesh.high", "0.01")
    assert "a texture's side must be" in refused(capsys, 2, *prior, "--mesh.steps", "5", "--mesh.size", "8")
    assert "start-count" in refused(capsys, 2, *prior, "--capacity", "10", "--start-count", "20")
    assert not (tmp_path / "out" / "distil.json").exists()
