import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from diffgs_jax.data import load_views, open_store
from diffgs_jax.data.mesh_dataset import MeshSource, RenderSettings, render_dataset
from diffgs_jax.data.mesh_rendering import MeshRenderer
from diffgs_jax.errors import UserError

trimesh = pytest.importorskip("trimesh")
SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "render_objects.py"
SMALL = RenderSettings(size=16, views=3)


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
    render_dataset(sources, tmp_path / "whole", SMALL, description={"name": "boxes"}, workers=1)

    # Stopped halfway: two of the objects are left as finished from a run with the same settings.
    unreachable = [source._replace(path=tmp_path / "away.ply") for source in sources]
    render_dataset(sources[:2], tmp_path / "part", SMALL, description={"name": "boxes"}, workers=1)
    assert (tmp_path / "part").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffgs_jax.data.mesh_dataset.write_store", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            render_dataset(sources[:2], tmp_path / "resumed", SMALL, description={"name": "boxes"}, workers=1)
    mixed = [unreachable[0], unreachable[1], sources[2], sources[3]]
    skipped = render_dataset(mixed, tmp_path / "resumed", SMALL, description={"name": "boxes"}, workers=1)
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
    render_dataset(sources, tmp_path / "all", settings, description={}, workers=2)
    render_dataset(sources[2:], tmp_path / "one", settings, description={}, workers=1)
    together, alone = open_store(tmp_path / "all")[2], open_store(tmp_path / "one")[0]
    assert together.images == alone.images
    np.testing.assert_array_equal(together.cameras.camera_to_world, alone.cameras.camera_to_world)


def test_two_meshes_with_one_name(tmp_path):
    with pytest.raises(UserError, match="same uid"):
        render_dataset([MeshSource("a", tmp_path)] * 2, tmp_path / "out", SMALL, description={})
