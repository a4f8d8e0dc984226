import dataclasses
import hashlib
import importlib.util
import pathlib
import shutil
import subprocess
import zipfile

import numpy as np
import pytest

from diffgs_jax.data import open_store
from diffgs_jax.data.store import read_index
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.synthesis.meshes import sweethome3d
from diffgs_jax.synthesis.meshes.dataset import RenderSettings, Workforce
from diffgs_jax.synthesis.meshes.engines import open_renderer
from diffgs_jax.synthesis.meshes.sweethome3d import CATALOGUE, LICENSES

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "prepare_sweethome3d.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("prepare_sweethome3d", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package that is taken for the real one, where there is what it takes to render it."""
    pytest.importorskip("trimesh")
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb")
    try:
        open_renderer(16).close()
    except UserError as error:
        pytest.skip(str(error))
    file = small_package(tmp_path)
    monkeypatch.setattr(sweethome3d, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def small_package(folder):
    """A package of the real one's layout: one tetrahedron of its own size in every library."""
    libraries = folder / "tree" / "usr/share/sweethome3d/furniture"
    libraries.mkdir(parents=True)
    (folder / "tree" / "DEBIAN").mkdir()
    (folder / "tree" / "DEBIAN" / "control").write_text(
        "Package: sweethome3d-furniture\nVersion: 1.8-1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: test\n"
    )
    for number, library in enumerate(LICENSES):
        with zipfile.ZipFile(libraries / f"{library}.sh3f", "w") as files:
            files.writestr(
                CATALOGUE,
                f"name#1=Thing {number}\ncategory#1=Kitchen\nmodel#1=/things/thing.obj\ncreator#1=Someone {number}",
            )
            corners = f"v 0 0 0\nv 1 0 0\nv 0 {1 + number} 0\nv 0 0 1\n"
            files.writestr("things/thing.obj", corners + "f 1 2 3\nf 1 2 4\nf 2 3 4\nf 1 3 4\n")
    file = folder / "small.deb"
    subprocess.run(["dpkg-deb", "--build", folder / "tree", file], check=True, capture_output=True)
    return file


@pytest.mark.parametrize(("license", "count"), [("all", 5), ("cc0", 1)])
def test_a_package_becomes_a_dataset_with_credits(script, package, tmp_path, license, count):
    settings = RenderSettings(size=16, views=2, test_percent=0.0)
    script.main(script.Arguments(tmp_path / "out", license, package, tmp_path / "work", Workforce(workers=1), settings))
    store = open_store(tmp_path / "out")
    assert store.uids == sorted(f"{library}/thing" for library in list(LICENSES)[:count])
    assert store.index["license"] == " AND ".join(sorted(set(list(LICENSES.values())[:count])))
    assert [record.caption for record in store] == [f"{record.name}, kitchen" for record in store]
    credits = (tmp_path / "out" / "CREDITS.md").read_text()
    for number in range(count):
        library = list(LICENSES)[number]
        row = f"| {library}/thing | Thing {number} | Someone {number} | {LICENSES[library]} | train |"
        assert row in credits


def test_one_side_of_the_split_is_rendered_alone_from_other_viewpoints(script, package, tmp_path):
    settings = RenderSettings(size=16, views=2, test_percent=50.0)

    def render(name, settings, split):
        arguments = (tmp_path / name, "all", package, tmp_path / "work", Workforce(workers=1), settings, split)
        script.main(script.Arguments(*arguments))
        return read_index(tmp_path / name)["splits"]

    both = render("all", settings, "all")
    assert both["test"]["uids"] and both["train"]["uids"]  # so that there is something to tell apart
    alone = render("test", dataclasses.replace(settings, seed=1), "test")
    assert alone["test"]["uids"] == both["test"]["uids"] and not alone["train"]["uids"]
    first, other = (open_store(tmp_path / name, "test")[0] for name in ("all", "test"))
    assert first.uid == other.uid
    assert not np.isclose(first.cameras.camera_to_world, other.cameras.camera_to_world).all(axis=(1, 2)).any()


def test_another_file_is_refused(tmp_path):
    (tmp_path / "other.deb").write_text("something else")
    with pytest.raises(DataError, match="other.deb is not sweethome3d-furniture 1.8-1"):
        sweethome3d.check_package(tmp_path / "other.deb")
    with pytest.raises(UserError, match="cannot read"):
        sweethome3d.check_package(tmp_path / "missing.deb")


def test_without_apt_the_user_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sweethome3d.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="give --package FILE"):
        sweethome3d.fetch_package(tmp_path)
