"""The files are taken apart by hand: a GLB is a header, JSON and numbers; an OBJ is text."""

import json
import struct

import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.meshing import Mesh, read_mesh, write_mesh

trimesh = pytest.importorskip("trimesh")

FACES = np.asarray([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32)


def tetrahedron():
    """Its corners are the origin and the tips of the axes; colours black, mid grey, red, white."""
    return Mesh(
        np.asarray([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32),
        FACES,
        np.asarray([[0, 0, 0], [0.5, 0.5, 0.5], [1, 0, 0], [1, 1, 1]], np.float32),
    )


def taken_apart(content):
    magic, version, length, json_length, kind = struct.unpack("<4sIII4s", content[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    return json.loads(content[20 : 20 + json_length]), content[28 + json_length :]


def test_glb_by_hand(tmp_path):
    assert write_mesh(tmp_path / "a.glb", tetrahedron()) == 4
    tree, binary = taken_apart((tmp_path / "a.glb").read_bytes())
    (primitive,) = tree["meshes"][0]["primitives"]

    def numbers(name, kind, width):
        accessor = tree["accessors"][primitive["attributes"][name] if name != "indices" else primitive["indices"]]
        start = tree["bufferViews"][accessor["bufferView"]].get("byteOffset", 0)
        return np.frombuffer(binary, kind, accessor["count"] * width, start).reshape(-1, width)

    # The world's z is up and its x faces the picture's camera; glTF has y up and z to the front.
    np.testing.assert_array_equal(numbers("POSITION", "<f4", 3), [[0, 0, 0], [0, 0, 1], [2, 0, 0], [0, 3, 0]])
    np.testing.assert_array_equal(numbers("indices", "<u4", 1).reshape(-1, 3), FACES)
    # glTF's vertex colours are linear: sRGB 0.5 is 0.2140, 55 of 255.
    colors = numbers("COLOR_0", "u1", 4)
    np.testing.assert_array_equal(colors, [[0, 0, 0, 255], [55, 55, 55, 255], [255, 0, 0, 255], [255] * 4])
    material = tree["materials"][primitive["material"]]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0
    assert "NORMAL" in primitive["attributes"]
    normals = numbers("NORMAL", "<f4", 3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert (normals[0] < 0).all()


def test_obj_by_hand(tmp_path):
    write_mesh(tmp_path / "a.obj", tetrahedron())
    lines = [line.split() for line in (tmp_path / "a.obj").read_text().splitlines() if line]
    vertices = np.asarray([line[1:] for line in lines if line[0] == "v"], float)
    np.testing.assert_allclose(vertices[:, :3], [[0, 0, 0], [0, 0, 1], [2, 0, 0], [0, 3, 0]])
    np.testing.assert_allclose(vertices[:, 3:], tetrahedron().colors, atol=0.003)
    faces = np.asarray([[corner.split("/")[0] for corner in line[1:]] for line in lines if line[0] == "f"], int)
    np.testing.assert_array_equal(faces - 1, FACES)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_round_trip(tmp_path, suffix):
    mesh = tetrahedron()
    write_mesh(tmp_path / f"a{suffix}", mesh)
    back = read_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(back.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    np.testing.assert_allclose(back.colors, mesh.colors, atol=0.01)
    model = trimesh.load_mesh(tmp_path / f"a{suffix}")
    assert model.is_watertight and model.volume == pytest.approx(1.0)


def test_foreign_meshes(tmp_path):
    """A scene with a moved part without colours, as other tools write them."""
    scene = trimesh.Scene([trimesh.creation.box((1, 2, 3))])
    scene.add_geometry(trimesh.creation.icosphere(1), transform=trimesh.transformations.translation_matrix([0, 10, 0]))
    scene.export(tmp_path / "b.glb")
    mesh = read_mesh(tmp_path / "b.glb")
    assert len(mesh.faces) == 12 + 80
    np.testing.assert_allclose(mesh.vertices.max(0), [1.5, 1.0, 11.0], atol=1e-5)  # y up became z up
    assert np.ptp(mesh.colors) < 0.1


def test_errors_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"\.glb, \.obj"):
        write_mesh(tmp_path / "a.stl", tetrahedron())
    with pytest.raises(UserError, match=r"\.glb, \.obj"):
        read_mesh(tmp_path / "a.ply")
    with pytest.raises(UserError, match="No such file"):
        read_mesh(tmp_path / "none.glb")
    with pytest.raises(DataError, match="not finite"):
        write_mesh(tmp_path / "a.glb", tetrahedron()._replace(vertices=np.full((4, 3), np.nan, np.float32)))
    assert not list(tmp_path.iterdir())
    for name, content in {"a.glb": b"glTF" + bytes(50), "b.glb": b"hello", "c.obj": b"f 1 2 3\n", "d.obj": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as error:
            read_mesh(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)
