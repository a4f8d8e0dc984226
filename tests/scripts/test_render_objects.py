import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data import load_views, open_store, scoring_views
from diffgs_jax.data.maps import decode_depth, decode_normals
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.synthesis.meshes.dataset import WITH_RINGS, MeshSource, RenderSettings, Workforce, render_dataset
from diffgs_jax.synthesis.meshes.objects import render_object
from diffgs_jax.synthesis.meshes.rendering import MeshRenderer

trimesh = pytest.importorskip("trimesh")
SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "render_objects.py"
SMALL = RenderSettings(size=16, views=3)
ALONE = Workforce(workers=1, sheet=False)


@pytest.fixture(scope="module", autouse=True)
def needs_a_renderer():
    try:
        MeshRenderer(16).close()
    except UserError as error:
        pytest.skip(str(error))


def write_meshes(folder, count=4):
    folder.mkdir()
    for number in range(count):
        trimesh.creation.box([1.0, 2.0, 1.0 + 0.3 * number]).export(folder / f"box{number}.ply")
    (folder / "broken.obj").write_text("v 1 2")


def run(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_folder_of_meshes_becomes_a_dataset(tmp_path):
    write_meshes(tmp_path / "meshes")
    options = ("--out", tmp_path / "out", "--size", 16, "--views", 3, "--test-percent", 0, "--workers", 1)
    done = run("--meshes", tmp_path / "meshes", *options)
    assert done.returncode == 0, done.stderr
    assert "4 training and 0 test objects, 1 skipped" in done.stdout and "skipped broken.obj" in done.stdout
    store = open_store(tmp_path / "out")
    assert store.uids == [f"box{number}.ply" for number in range(4)]
    assert "broken.obj" in store.index["skipped"] and store.index["renderer"]["views"] == 3
    images, alphas, cameras = load_views(store[2], 16)
    assert images.shape == (3, 16, 16, 3) and alphas.max() > 0.9 and cameras.intrinsics.shape == (3, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meshes", "out"]

    again = run("--meshes", tmp_path / "meshes", *options)
    assert again.returncode == 2 and again.stderr.startswith("error: ") and "exists already" in again.stderr
    assert "Traceback" not in again.stderr


def test_wrong_folders_are_one_line(tmp_path):
    for meshes, message in ((tmp_path / "nowhere", "no folder of meshes"), (tmp_path, "holds no mesh")):
        done = run("--meshes", meshes, "--out", tmp_path / "out")
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_goes_on_where_it_stopped_and_ends_with_the_same(tmp_path):
    write_meshes(tmp_path / "meshes")
    sources = [MeshSource(f"box{n}", tmp_path / "meshes" / f"box{n}.ply") for n in (2, 0, 3, 1)]
    render_dataset(sources, tmp_path / "whole", SMALL, description={"name": "boxes"}, workforce=ALONE)

    # Stopped halfway: two of the objects are left as finished from a run with the same settings.
    unreachable = [source._replace(path=tmp_path / "away.ply") for source in sources]
    render_dataset(sources[:2], tmp_path / "part", SMALL, description={"name": "boxes"}, workforce=ALONE)
    assert (tmp_path / "part").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffgs_jax.synthesis.meshes.dataset.write_store", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            render_dataset(sources[:2], tmp_path / "resumed", SMALL, description={"name": "boxes"}, workforce=ALONE)
    mixed = [unreachable[0], unreachable[1], sources[2], sources[3]]
    skipped = render_dataset(mixed, tmp_path / "resumed", SMALL, description={"name": "boxes"}, workforce=ALONE)
    assert skipped == {}
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "resumed" / file.name).read_bytes() == file.read_bytes(), file.name
    index = json.loads((tmp_path / "whole" / "index.json").read_text())
    assert sum(len(part["uids"]) for part in index["splits"].values()) == 4


def _interrupt(*_, **__):
    raise KeyboardInterrupt


def test_views_do_not_depend_on_what_else_is_rendered(tmp_path):
    write_meshes(tmp_path / "meshes")
    sources = [MeshSource(f"box{n}", tmp_path / "meshes" / f"box{n}.ply") for n in range(3)]
    settings = RenderSettings(size=16, views=2, test_percent=0.0)
    render_dataset(sources, tmp_path / "all", settings, description={}, workforce=Workforce(workers=2, sheet=False))
    render_dataset(sources[2:], tmp_path / "one", settings, description={}, workforce=ALONE)
    together, alone = open_store(tmp_path / "all")[2], open_store(tmp_path / "one")[0]
    assert together.images == alone.images
    np.testing.assert_array_equal(together.cameras.camera_to_world, alone.cameras.camera_to_world)


def test_two_meshes_with_one_name(tmp_path):
    with pytest.raises(UserError, match="same uid"):
        render_dataset([MeshSource("a", tmp_path)] * 2, tmp_path / "out", SMALL, description={})


def test_shards_are_collected_into_what_one_run_makes(tmp_path):
    write_meshes(tmp_path / "meshes")
    sources = [MeshSource(f"box{n}", tmp_path / "meshes" / f"box{n}.ply") for n in range(4)]
    render_dataset(sources, tmp_path / "whole", SMALL, description={}, workforce=ALONE)
    for shard in ("1/3", "0/3"):
        part = Workforce(workers=1, shard=shard, sheet=False)
        assert render_dataset(sources, tmp_path / "parts", SMALL, description={}, workforce=part) == {}
        assert not (tmp_path / "parts").exists()
    # What the job of shard 2 did not do is done when all is collected.
    assert len(list(tmp_path.glob("parts.partial-*/*.msgpack"))) == 3
    render_dataset(sources, tmp_path / "parts", SMALL, description={}, workforce=ALONE)
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / file.name).read_bytes() == file.read_bytes(), file.name
    for shard in ("3/3", "x", "1", "-1/2"):
        with pytest.raises(UserError, match="is not i/n"):
            bad = Workforce(shard=shard)
            render_dataset(sources, tmp_path / "more", SMALL, description={}, workforce=bad)


def test_maps_and_a_contact_sheet_are_written(tmp_path):
    write_meshes(tmp_path / "meshes", count=2)
    sources = [MeshSource(f"box{n}", tmp_path / "meshes" / f"box{n}.ply") for n in range(2)]
    settings = RenderSettings(size=32, views=3, maps=("depth", "normals"), test_percent=0.0)
    render_dataset(sources, tmp_path / "out", settings, description={}, workforce=Workforce(workers=1))
    record = open_store(tmp_path / "out")[1]
    depth, normals = decode_depth(record.maps["depth"]), decode_normals(record.maps["normals"])
    _, alphas, cameras = load_views(record, 32)
    assert (np.isfinite(depth) == np.isfinite(normals[..., 0])).all()
    assert np.isfinite(depth)[alphas == 1].all() and not np.isfinite(depth)[alphas == 0].any()
    # Unprojected, one view's depth lies in the other views' outlines.
    rows, columns = np.nonzero(np.isfinite(depth[0]))
    fx, fy, cx, cy = cameras.intrinsics[0]
    local = np.stack([((columns + 0.5) / 32 - cx) / fx, ((rows + 0.5) / 32 - cy) / fy, np.ones(len(rows))], -1)
    pose = cameras.camera_to_world[0]
    points = (local * depth[0, rows, columns, None]) @ pose[:3, :3].T + pose[:3, 3]
    assert np.linalg.norm(points, axis=1).max() < 1.001
    for view in (1, 2):
        pose = cameras.camera_to_world[view]
        seen = (points - pose[:3, 3]) @ pose[:3, :3]
        column, row = ((fx * seen[:, 0] / seen[:, 2] + cx) * 32, (fy * seen[:, 1] / seen[:, 2] + cy) * 32)
        assert (alphas[view, row.astype(int), column.astype(int)] > 0).mean() > 0.99
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > 96 * 3 and sheet.height > 96 * 2


def test_a_view_of_nothing_is_replaced(tmp_path):
    """A sheet that lies flat cannot be seen from its own height; other viewpoints are drawn until it is."""
    trimesh.creation.box([1.0, 1e-4, 1.0]).export(tmp_path / "sheet.ply")
    settings = RenderSettings(size=32, views=6, elevation_range=(-0.5, 20.0))
    renderer = MeshRenderer(32)
    for uid in ("a", "b", "c", "d"):
        record, _ = render_object(MeshSource(uid, tmp_path / "sheet.ply"), settings, renderer)
        _, alphas, _ = load_views(record, 32)
        assert alphas.mean(axis=(1, 2)).min() >= 4e-4
    with pytest.raises(DataError, match="shows nothing"):
        render_object(
            MeshSource("a", tmp_path / "sheet.ply"),
            RenderSettings(size=32, views=4, elevation_range=(-0.0, 0.0)),
            renderer,
        )
    renderer.close()


def test_a_ring_at_an_elevation_of_the_objects_own_and_random_views(tmp_path):
    write_meshes(tmp_path / "meshes", count=2)
    settings = dataclasses.replace(WITH_RINGS, size=8)
    renderer, elevations = MeshRenderer(8), []
    for number in range(2):
        source = MeshSource(f"box{number}", tmp_path / "meshes" / f"box{number}.ply")
        record, _ = render_object(source, settings, renderer)
        x, y, z = record.cameras.camera_to_world[:, :3, 3].astype(float).T
        azimuth, elevation = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))
        np.testing.assert_allclose(azimuth[:24], np.arange(24) * 15.0, atol=1e-3)
        np.testing.assert_allclose(elevation[:24], elevation[0], atol=1e-3)
        elevations.append(elevation[0])
        shown, asked = scoring_views(record.cameras.camera_to_world, 4)
        assert shown.tolist() == [0, 6, 12, 18] and asked.tolist() == list(range(24, 40))
        plain, _ = render_object(source, RenderSettings(size=8, views=16), renderer)
        assert plain.images == record.images[24:]  # the random views are those of the object alone
    assert 0 <= min(elevations) < max(elevations) <= 30
    both = dataclasses.replace(settings, rings=(20.0,))
    with pytest.raises(UserError, match="give one of them"):
        render_dataset([MeshSource("a", tmp_path)], tmp_path / "out", both, description={})
    # A sheet that lies flat is not seen from its own height; its ring is another one then, as a whole.
    trimesh.creation.box([1.0, 1e-4, 1.0]).export(tmp_path / "sheet.ply")
    low = dataclasses.replace(settings, ring_elevations=(-0.5, 20.0), views=0, maps=())
    for uid in ("a", "b", "c", "d"):
        record, _ = render_object(MeshSource(uid, tmp_path / "sheet.ply"), low, renderer)
        heights = record.cameras.camera_to_world[:, 2, 3]
        np.testing.assert_allclose(heights, heights[0], atol=1e-5)
        assert load_views(record, 8)[1].mean(axis=(1, 2)).min() >= 4e-4
    renderer.close()
