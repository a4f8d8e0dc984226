"""From a picture to the files of the web page."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import trimesh

pytest.importorskip("viser", reason='the viewer needs pip install "diffgs_jax[view]"')

from diffgs_jax.errors import DataError
from diffgs_jax.inference import SamplingOptions
from diffgs_jax.interop import read_gaussians
from diffgs_jax.viewing import assets
from diffgs_jax.viewing.assets import AssetOptions, make_asset


@pytest.mark.slow
def test_all_files_hold_the_same_object(fake_pipeline, picture, tmp_path):
    told = []
    (tmp_path / "made").mkdir()
    asset = make_asset(
        fake_pipeline, picture, AssetOptions(sampling=SamplingOptions(seed=5, steps=4)), tmp_path / "made", told.append
    )
    assert asset.gaussians == 200
    splats = {path.suffix: read_gaussians(path) for path in asset.files if path.suffix in (".ply", ".spz", ".splat")}
    assert len(splats) == 3
    for gaussians in splats.values():
        np.testing.assert_allclose(np.sort(gaussians.means, 0), np.sort(splats[".ply"].means, 0), atol=1e-3)
    ffmpeg = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", asset.film], capture_output=True, text=True)
    assert "Video: h264" in ffmpeg.stderr and "32x32" in ffmpeg.stderr
    assert asset.views.read_bytes().startswith(b"\x89PNG")
    assert "__VISER_EMBED_DATA__" in asset.splat and (tmp_path / "made" / "viewer.html").read_text() == asset.splat
    assert "__VISER_EMBED_DATA__" in asset.mesh
    box = trimesh.load_scene(tmp_path / "made" / "mesh.glb").bounds[:, [2, 0, 1]]  # z up again
    assert np.abs(box - np.stack([splats[".ply"].means.min(0), splats[".ply"].means.max(0)])).max() < 0.15

    counted = [(progress.done, progress.total) for progress in told if progress.doing == "Denoising"]
    assert counted == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [progress.done for progress in told if progress.doing == "Filming a turn"] == [0, 8]
    assert told[-1].doing == "Making a mesh" and told[-1].done == told[-1].total == 8


def test_what_the_listener_raises_ends_the_work(fake_pipeline, picture, tmp_path):
    def report(progress):
        if progress.done == 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        make_asset(fake_pipeline, picture, AssetOptions(sampling=SamplingOptions(steps=4)), tmp_path, report)
    assert fake_pipeline.finished == []


def test_a_bad_picture_is_told(fake_pipeline, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png"):
        make_asset(fake_pipeline, tmp_path / "text.png", AssetOptions(), tmp_path, lambda progress: None)


def test_a_splat_without_a_surface_is_handed_over_without_a_mesh(
    fake_pipeline, picture, tmp_path, monkeypatch, no_rendering
):
    def nothing(*viewable, **settings):
        raise DataError("the splat is nowhere half opaque")

    monkeypatch.setattr(assets, "extract_mesh", nothing)
    asset = make_asset(
        fake_pipeline, picture, AssetOptions(sampling=SamplingOptions(steps=4)), tmp_path, lambda progress: None
    )
    assert "nowhere half opaque" in asset.mesh and all(path.exists() for path in asset.files)
