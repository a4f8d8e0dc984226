"""The sampling command, end to end, with an untrained model small enough for a test."""

import dataclasses
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import plyfile
import pytest
from PIL import Image
from tiny import TINY, command, failure, weights

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import TrainConfig, to_dict
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import DILATION, SMOOTHED_DILATION, Cameras, condition_camera, smoothed
from diffgs_jax.inference import InputOptions, Pipeline, PosedImages, SamplingOptions, load
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, NetworkConfig
from diffgs_jax.sample import main


def test_end_to_end_and_the_same_bytes_again(checkpoint, pipeline, picture, tmp_path, monkeypatch):
    contents = []
    for name in ("first", "second"):
        main(command(checkpoint, picture, tmp_path / name, "--seed", "3"))
        monkeypatch.setattr("diffgs_jax.inference.load", lambda *_, **__: pipeline)  # compiled at another time
        files = sorted((tmp_path / name).iterdir())
        assert [path.name for path in files] == ["gaussians.ply", "sample.json", "turntable.mp4", "views.png"]
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]
    vertex = plyfile.PlyData.read(tmp_path / "first" / "gaussians.ply")["vertex"]
    assert len(vertex) == 4 * (32 // 4) ** 2 + TINY.model.network.free_gaussians
    assert all(np.isfinite(vertex[p.name]).all() for p in vertex.properties)


def test_faint_and_far_gaussians_are_left_out_if_asked(pipeline, picture):
    result = pipeline(picture, steps=2)
    distances, opacities = np.linalg.norm(result.gaussians.means, axis=1), result.gaussians.opacities
    radius, faint = float(np.median(distances)), float(np.median(opacities))
    kept = result.cleaned(min_opacity=faint, crop_radius=radius)
    assert 0 < len(kept.gaussians.opacities) == np.sum((distances <= radius) & (opacities >= faint)) < len(opacities)
    with pytest.raises(DataError, match="no Gaussian is left"):
        result.cleaned(min_opacity=1.0)


def test_the_filter_is_part_of_what_is_returned_and_the_views_are_not_touched(pipeline, picture):
    raw, made = pipeline(picture, steps=2, filter=False), pipeline(picture, steps=2)
    cameras = Cameras(*(np.asarray(leaf[0]) for leaf in made.views.cameras))
    expected = smoothed(raw.gaussians, cameras, TINY.data.resolution)
    np.testing.assert_array_equal(made.gaussians.scales, expected.scales)
    assert (made.gaussians.scales > raw.gaussians.scales).all()
    np.testing.assert_array_equal(made.views.images, raw.views.images)
    assert (raw.rendering.dilation, made.rendering.dilation) == (DILATION, SMOOTHED_DILATION)
    unfiltered = dataclasses.replace(TINY.sampling, filter=0.0)
    imported = dataclasses.replace(pipeline, config=dataclasses.replace(TINY, sampling=unfiltered))
    np.testing.assert_array_equal(imported(picture, steps=2).gaussians.scales, raw.gaussians.scales)


def test_a_model_that_was_imported_before_there_was_a_filter_goes_on_without(tmp_path):
    config = to_dict(TINY)
    del config["sampling"]["filter"]
    for name, metadata, expected in (("ours", {}, 0.3), ("imported", {"imported_from": "obj.ckpt"}, 0.0)):
        save_weights(tmp_path / name, 1, weights(TINY), {"config": config} | metadata)
        assert load(tmp_path / name).config.sampling.filter == expected


def test_what_cannot_be_seen_is_not_written(pipeline, picture, tmp_path):
    result = pipeline(picture, steps=2)
    count = len(result.gaussians.opacities)
    faint = np.where(np.arange(count) % 3 == 0, np.float32(0.003), result.gaussians.opacities)
    result = dataclasses.replace(result, gaussians=result.gaussians._replace(opacities=faint))
    visible = count - len(faint[::3])
    assert result.save_ply(tmp_path / "a.ply") == visible == len(result.pruned().gaussians.opacities)
    assert result.save_ply(tmp_path / "b.ply", prune=False) == count
    result.save(tmp_path / "c.ply")
    assert len(plyfile.PlyData.read(tmp_path / "c.ply")["vertex"]) == visible
    nothing = result.gaussians._replace(opacities=np.zeros_like(faint))
    with pytest.raises(DataError, match="too faint to be seen"):
        dataclasses.replace(result, gaussians=nothing).save(tmp_path / "d.ply")


def test_call_is_a_function_of_its_arguments(pipeline, picture):
    done = []
    first = pipeline(picture, steps=2, seed=1, on_step=done.append)
    assert done == [0, 1, 2]
    again = pipeline(picture, steps=2, seed=1)
    assert done == [0, 1, 2]  # the listener is gone
    for ours, theirs in zip(
        jax.tree.leaves((first.gaussians, first.views)), jax.tree.leaves((again.gaussians, again.views)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    other = pipeline(picture, steps=2, seed=2)
    assert np.abs(other.gaussians.sh - first.gaussians.sh).max() > 0
    higher = pipeline(picture, steps=2, seed=1, elevation=60.0)
    center = higher.views.cameras.camera_to_world[0, 0, :3, 3]
    assert np.degrees(np.arcsin(center[2] / np.linalg.norm(center))) == pytest.approx(60, abs=1e-3)


def test_the_condition_view_is_the_framed_picture(pipeline, picture):
    result = pipeline(picture, steps=2, sampler="ddpm", foreground_ratio=0.5)
    image = np.asarray(result.views.images)[0, 0]
    expected = np.ones((32, 32, 3), np.float32)
    expected[8:24, 8:24] = np.asarray([200, 30, 40]) / 255
    np.testing.assert_allclose(image[18:23, 9:23], expected[18:23, 9:23], atol=1e-5)
    np.testing.assert_allclose(image[:8], 1)
    np.testing.assert_array_equal(result.views.is_condition, [[True, False, False, False]])


def test_cameras_are_the_rigs():
    given = PosedImages(np.zeros((1, 8, 8, 3), np.float32), condition_camera(TINY.rig))
    request = Pipeline(TINY, {}).request(given, InputOptions(), SamplingOptions())
    poses = [request.condition.cameras.camera_to_world[0], request.cameras.camera_to_world[0]]
    centers = np.concatenate(poses)[:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(centers, axis=-1), 2.7, rtol=1e-6)
    azimuths = np.degrees(np.arctan2(centers[:, 1], centers[:, 0])) % 360
    np.testing.assert_allclose(azimuths, [0, 90, 180, 270], atol=1e-3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--steps", "0"], "steps"),
        (["--steps", "100000"], "steps"),
        (["--seed", "-1"], "seed"),
        (["--elevation", "91"], "elevation"),
        (["--foreground-ratio", "0"], "foreground ratio"),
        (["--turntable-size", "33"], "even"),
        (["--frames", "-1"], "frames"),
        (["--samples", "0"], "samples"),
        (["--views", "0"], "views"),
        (["--guidance", "2"], "cannot be guided"),
        (["--background", "octarine"], "no colour"),
        (["--matting", "isnet"], "--matting-model"),
    ],
)
def test_bad_options(checkpoint, picture, tmp_path, capsys, more, message):
    code, line = failure(command(checkpoint, picture, tmp_path / "out", *more), capsys)
    assert code == 2 and message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sampler", "dmp"], "invalid choice 'dmp' for argument '--sampler'"),
        (["--stepz", "3"], "Unrecognized options: --stepz"),
        (["--steps", "abc"], "invalid literal for int() with base 10: 'abc'"),
    ],
)
def test_options_that_do_not_parse(checkpoint, picture, tmp_path, capsys, more, message):
    code, line = failure(command(checkpoint, picture, tmp_path / "out", *more), capsys)
    assert code == 2 and message in line


@pytest.mark.parametrize("part", ["_CHECKPOINT_METADATA", "ema/_METADATA", "ema/manifest.ocdbt", "ema/d/*"])
def test_a_damaged_checkpoint_is_one_line(checkpoint, picture, tmp_path, capsys, part):
    shutil.copytree(checkpoint, tmp_path / "copy")
    (path,) = (tmp_path / "copy" / "7").glob(part)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, line = failure(command(tmp_path / "copy", picture, tmp_path / "out"), capsys)
    assert code == 1 and "damaged" in line
    assert not (tmp_path / "out").exists()


def test_bad_pictures(checkpoint, tmp_path, capsys):
    paths = {name: tmp_path / f"{name}.png" for name in ("missing", "text", "small", "clear", "busy")}
    paths["text"].write_text("not a picture")
    Image.new("RGB", (5, 40), "red").save(paths["small"])
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(paths["clear"])
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(paths["busy"])
    expected = {
        "missing": (2, "cannot read"),
        "text": (1, "a text file; give a PNG"),
        "small": (1, "smaller than a patch of the model (8×8)"),
        "clear": (1, "fully transparent"),
        "busy": (1, "busy background"),
    }
    for name, (code, message) in expected.items():
        found, line = failure(command(checkpoint, paths[name], tmp_path / "out"), capsys)
        assert found == code and message in line and str(paths[name]) in line
        assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_told_before_any_work(picture, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        # The checkpoint is missing too: the folder is looked at first.
        code, line = failure(command(tmp_path / "none", picture, out), capsys)
        assert code == 2 and "cannot write to the output folder" in line and str(out) in line


def test_bad_checkpoints(checkpoint, picture, tmp_path, capsys):
    code, line = failure(command(tmp_path / "none", picture, tmp_path / "out"), capsys)
    assert code == 2 and "checkpoint" in line
    other = DiffusionGSConfig(network=NetworkConfig(width=64, layers=1, heads=2, patch_size=8, stride=4))
    foreign = TrainConfig(model=other, data=TINY.data)
    save_weights(tmp_path / "foreign", 1, weights(TINY), {"config": to_dict(foreign)})
    code, line = failure(command(tmp_path / "foreign", picture, tmp_path / "out"), capsys)
    assert code == 1 and "another architecture" in line
    stranger = to_dict(TINY) | {"colour": "red"}
    save_weights(tmp_path / "stranger", 1, weights(TINY), {"config": stranger})
    code, line = failure(command(tmp_path / "stranger", picture, tmp_path / "out"), capsys)
    assert code == 1 and "colour" in line
    assert not (tmp_path / "out").exists()


def test_what_is_there_stays_when_sampling_fails(checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "gaussians.ply").write_text("before")
    failure(command(checkpoint, tmp_path / "missing.png", out), capsys)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("gaussians.ply", "before")]


def test_without_a_film(checkpoint, pipeline, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("diffgs_jax.inference.load", lambda *_, **__: pipeline)
    main([*command(checkpoint, picture, tmp_path / "out"), "--frames", "0"])
    assert sorted(os.listdir(tmp_path / "out")) == ["gaussians.ply", "sample.json", "views.png"]


def test_every_kind_of_file(checkpoint, loaded, picture, tmp_path):
    words = "--formats spz splat --turntables color depth normals --film gif --trajectory --background navy"
    main(command(checkpoint, picture, tmp_path / "out", *words.split()))
    assert sorted(os.listdir(tmp_path / "out")) == [
        *("gaussians.splat", "gaussians.spz", "sample.json", "trajectory.gif"),
        *("turntable.gif", "turntable_depth.gif", "turntable_normals.gif", "views.png"),
    ]
    with Image.open(tmp_path / "out" / "turntable.gif") as film:
        assert film.n_frames == 4 and film.size == (32, 32)
        np.testing.assert_allclose(np.asarray(film.convert("RGB"))[0, 0], [0, 0, 128], atol=12)


def test_as_a_program(picture, tmp_path):
    """A program of its own reports an error in one line and with its exit code."""
    arguments = [
        sys.executable,
        "-m",
        "diffgs_jax.sample",
        "--image",
        str(tmp_path / "none.png"),
        "--out",
        str(tmp_path),
    ]
    finished = subprocess.run([*arguments, "--checkpoint", str(tmp_path / "no")], capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: ") and finished.stderr.count("\n") == 1


def test_no_bundled_model_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("diffgs_jax.inference.loading.BUNDLED_CHECKPOINT", tmp_path / "none")
    with pytest.raises(UserError, match="comes without a trained model"):
        load()


def test_python_users_get_the_same_errors(pipeline):
    with pytest.raises(DataError, match="fully transparent"):
        pipeline(np.zeros((40, 40, 4), np.uint8), steps=1)
