"""The script from a package of the real one's layout to a dataset with credits."""

import hashlib
import importlib.util
import pathlib
import shutil
import subprocess

import pytest
from PIL import Image

from diffgs_jax.data import open_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.synthesis.meshes.dataset import WITH_RINGS, RenderSettings, Workforce
from diffgs_jax.synthesis.meshes.engines import open_renderer
from diffgs_jax.synthesis.meshes.zeroad import package

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "prepare_0ad.py"
FILES = pathlib.Path(__file__).parents[1] / "synthesis" / "zeroad_files.py"


def module_of(name, file):
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def deb(tmp_path_factory):
    """A package with two animals, one of them flat."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb")
    files, root = module_of("zeroad_files_of_script", FILES), tmp_path_factory.mktemp("deb")
    folder = root / "tree" / "usr/share/games/0ad/mods/public"
    folder.mkdir(parents=True)
    (root / "tree" / "DEBIAN").mkdir()
    (root / "tree" / "DEBIAN" / "control").write_text(
        "Package: 0ad-data\nVersion: 0.0.26-1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: test\n"
    )
    positions, faces = files.ball()
    files.archive(
        folder / "public.zip",
        {"fauna/hen": files.actor("hen", "skin"), "fauna/ray": files.actor("ray", "skin")},
        meshes={"hen": files.pmd(positions, faces), "ray": files.pmd(positions * [1, 0.001, 1], faces)},
        textures={"skin": files.dds((200, 100, 50, 255))},
        credits='{"Content": [{"Title": "3D Art", "List": [{"nick": "b", "name": "Beata"}, {"nick": "alf"}]}]}',
    )
    file = root / "small.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--build", root / "tree", file], check=True, capture_output=True)
    return file


def test_a_package_becomes_a_dataset_with_licence_and_credits(deb, tmp_path, monkeypatch, capsys):
    try:
        open_renderer(16).close()
    except UserError as error:
        pytest.skip(str(error))
    pytest.importorskip("trimesh")
    monkeypatch.setattr(package, "SHA256", hashlib.sha256(deb.read_bytes()).hexdigest())
    script = module_of("prepare_0ad", SCRIPT)
    settings = RenderSettings(size=16, views=2, ring_views=6, maps=WITH_RINGS.maps, test_percent=0.0)
    script.main(script.Arguments(tmp_path / "out", deb, tmp_path / "work", Workforce(workers=1), settings))
    store = open_store(tmp_path / "out")
    assert store.uids == ["fauna/hen"] and store.index["license"] == "CC-BY-SA-3.0"
    assert store.index["skipped"] == {"fauna/ray": "fauna/ray is flat"}
    record = store[0]
    assert (record.caption, record.creator, record.license) == ("hen, animal", "Wildfire Games", "CC-BY-SA-3.0")
    assert len(record.images) == 8 and set(record.maps) == {"depth", "normals"}
    credits = (tmp_path / "out" / "CREDITS.md").read_text()
    assert "by-sa/3.0" in credits and "wildfiregames.com" in credits and "3D Art: Beata, alf." in credits
    assert "left out when read: 1 is flat" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > 96
    # Once it is unpacked, the package is not needed any more.
    assert package.find_game_archive(tmp_path / "work", tmp_path / "gone.deb") == tmp_path / "work" / "public.zip"


def test_the_package_is_fetched_by_its_address_and_checked(deb, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "URLS", ("file:///nowhere.deb", deb.as_uri()))
    assert package.fetch_game_package(tmp_path / "a").read_bytes() == deb.read_bytes()
    with pytest.raises(DataError, match="is not 0ad-data 0.0.26-1: its SHA-256 is"):
        package.find_game_archive(tmp_path / "a")
    monkeypatch.setattr(package, "URLS", ("file:///nowhere.deb",))
    with pytest.raises(UserError, match="cannot be fetched .*--package"):
        package.fetch_game_package(tmp_path / "b")


def test_a_package_without_the_game_is_told(deb, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "_ARCHIVE", "./usr/elsewhere.zip")
    monkeypatch.setattr(package, "SHA256", hashlib.sha256(deb.read_bytes()).hexdigest())
    with pytest.raises(DataError, match="holds no ./usr/elsewhere.zip"):
        package.find_game_archive(tmp_path / "work", deb)
    assert not (tmp_path / "work" / "public.zip").exists()
