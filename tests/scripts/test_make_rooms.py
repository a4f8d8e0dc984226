import hashlib
import importlib.util
import pathlib
import shutil
import subprocess
import zipfile

import numpy as np
import pytest

from diffgs_jax.data import load_views, open_store
from diffgs_jax.data.maps import decode_depth
from diffgs_jax.data.store import read_index
from diffgs_jax.errors import UserError
from diffgs_jax.synthesis.meshes import sweethome3d
from diffgs_jax.synthesis.meshes.dataset import Workforce
from diffgs_jax.synthesis.meshes.engines import open_renderer
from diffgs_jax.synthesis.meshes.sweethome3d import CATALOGUE, LICENSES
from diffgs_jax.synthesis.rooms.records import RoomSettings

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("embreex")
SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "make_rooms.py"
THINGS = {
    **{"Sofa": (2.0, 0.9, 0.8), "Table": (1.4, 0.8, 0.74), "Bed": (1.6, 2.1, 0.6), "Desk": (1.4, 0.7, 0.75)},
    **{"Chair": (0.5, 0.5, 0.9), "Bookcase": (0.9, 0.35, 1.8), "Washbasin": (0.5, 0.45, 0.9), "Bidet": (0.4, 0.5, 0.4)},
    **{"Fridge": (0.6, 0.6, 1.8), "Lower cabinet": (0.6, 0.6, 0.9), "Truck": (2.0, 6.0, 3.0)},
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_rooms", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the real one's layout: boxes of furniture's sizes."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb")
    libraries = tmp_path / "tree" / "usr/share/sweethome3d/furniture"
    libraries.mkdir(parents=True)
    (tmp_path / "tree" / "DEBIAN").mkdir()
    (tmp_path / "tree" / "DEBIAN" / "control").write_text(
        "Package: sweethome3d-furniture\nVersion: 1.8-1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: test\n"
    )
    for library in LICENSES:
        with zipfile.ZipFile(libraries / f"{library}.sh3f", "w") as files:
            lines = []
            for number, (name, (width, depth, height)) in enumerate(THINGS.items()):
                mesh = trimesh.creation.box([width, height, depth]).export(file_type="obj")
                files.writestr(f"things/{name}.obj", mesh)
                category = "Vehicles" if name == "Truck" else "Living room"
                lines += [
                    f"name#{number}={name}",
                    f"category#{number}={category}",
                    f"model#{number}=/things/{name}.obj",
                ]
                lines += [f"creator#{number}=Someone", f"width#{number}={100 * width}"]
                lines += [f"depth#{number}={100 * depth}", f"height#{number}={100 * height}"]
            files.writestr(CATALOGUE, "\n".join(lines))
    file = tmp_path / "small.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "tree", file], check=True, capture_output=True)
    monkeypatch.setattr(sweethome3d, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def test_a_package_becomes_rooms_with_depth_and_credits(script, package, tmp_path):
    try:
        open_renderer(16).close()
    except UserError as error:
        pytest.skip(str(error))
    arguments = script.Arguments(
        out=tmp_path / "rooms",
        rooms=2,
        test_rooms=0.0,
        license="cc0",
        package=package,
        work=tmp_path / "work",
        workforce=Workforce(workers=1),
        settings=RoomSettings(size=24, frames=4, rays=2),
    )
    script.main(arguments)
    store = open_store(tmp_path / "rooms")
    assert store.uids == ["room/train/0000", "room/train/0001"] and store.index["license"] == "CC0-1.0"
    assert store.index["renderer"]["units"] == "metres"
    credits = (tmp_path / "rooms" / "CREDITS.md").read_text()
    for record in store:
        images, alphas, _ = load_views(record, 24)
        assert images.shape == (4, 24, 24, 3) and alphas.min() == 1 and images.mean() > 0.2
        assert np.isfinite(decode_depth(record.maps["depth"])).all()
        assert record.domain == "scene" and "truck" not in str(record.caption)
        assert all(f"| {uid} |" in credits for uid in record.source.split(", "))
    assert (tmp_path / "rooms" / "contact_sheet.png").exists()
    assert not list(tmp_path.glob("rooms.partial*"))
    assert read_index(tmp_path / "rooms")["skipped"] == {}
    with pytest.raises(UserError, match="exists already"):
        script.main(arguments)
