"""Textured meshes: the file by hand, and texels against the triangles that they lie in."""

import json
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians, sh_from_color
from diffgs_jax.meshing import Mesh, TexturedMesh, bake_texture, check_texture, read_mesh, write_mesh

pytest.importorskip("trimesh")


def square(size=8):
    """One by one, in the plane x = 0 of the object frame, the texture's left side red, its right side blue."""
    texture = np.zeros((size, size, 3), np.uint8)
    texture[:, : size // 2, 0], texture[:, size // 2 :, 2] = 200, 200
    texture[0] = 255  # the top row
    return TexturedMesh(
        np.asarray([[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], np.float32),
        np.asarray([[0, 1, 2], [0, 2, 3]], np.int32),
        np.asarray([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64),
        texture,
    )


def test_the_file_by_hand(tmp_path):
    assert write_mesh(tmp_path / "a.glb", square()) == 2
    content = (tmp_path / "a.glb").read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    tree, binary = json.loads(content[20 : 20 + length]), content[28 + length :]
    [primitive] = tree["meshes"][0]["primitives"]
    assert "COLOR_0" not in primitive["attributes"]

    def view(number):
        found = tree["bufferViews"][number]
        return binary[found.get("byteOffset", 0) :][: found["byteLength"]]

    places = tree["accessors"][primitive["attributes"]["TEXCOORD_0"]]
    uv = np.frombuffer(view(places["bufferView"]), "<f4").reshape(-1, 2)
    np.testing.assert_allclose(uv, [[0, 1], [1, 1], [1, 0], [0, 0]])  # glTF counts v from the top
    material = tree["materials"][primitive["material"]]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0 and "baseColorTexture" in material
    image = tree["images"][tree["textures"][material["baseColorTexture"]["index"]]["source"]]
    assert image["mimeType"] == "image/png"
    picture = view(image["bufferView"])
    assert picture.startswith(b"\x89PNG")
    (tmp_path / "t.png").write_bytes(picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "t.png").convert("RGB")), square().texture)


def test_colors_are_where_they_belong(tmp_path):
    write_mesh(tmp_path / "a.glb", square())
    back = read_mesh(tmp_path / "a.glb")
    np.testing.assert_allclose(back.vertices, square().vertices, atol=1e-6)
    red, blue, white = np.asarray([[200, 0, 0], [0, 0, 200], [255, 255, 255]]) / 255
    np.testing.assert_allclose(back.colors, [red, blue, white, white], atol=0.01)


def test_a_texture_is_no_obj(tmp_path):
    with pytest.raises(UserError, match=r"\.glb"):
        write_mesh(tmp_path / "a.obj", square())


def test_settings(monkeypatch):
    for size in (0, 63, 5000):
        with pytest.raises(UserError, match="64 to 4096"):
            check_texture(size)
    monkeypatch.setitem(sys.modules, "xatlas", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="xatlas"):
        check_texture(256)


@pytest.mark.slow
def test_two_coloured_box():
    """Its right half (y > 0) is blue, its left one red; the texture says so at the place of every texel."""
    trimesh, _ = pytest.importorskip("trimesh"), pytest.importorskip("xatlas")
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 11)] * 3, indexing="ij"), -1).reshape(-1, 3)
    colors = np.where(grid[:, 1:2] > 0, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    gaussians = Gaussians(
        grid.astype(np.float32),
        np.tile(np.asarray([[1, 0, 0, 0]], np.float32), (len(grid), 1)),
        np.full((len(grid), 3), 0.05, np.float32),
        np.full(len(grid), 0.95, np.float32),
        np.asarray(sh_from_color(jnp.asarray(colors, jnp.float32)[:, None])).reshape(-1, 1, 3),
    )
    box = trimesh.creation.box((1, 1, 1)).subdivide().subdivide()
    mesh = Mesh(
        np.asarray(box.vertices, np.float32),
        np.asarray(box.faces, np.int32),
        np.full((len(box.vertices), 3), 0.5, np.float32),
    )
    baked = bake_texture(gaussians, mesh, size=128, views=16, resolution=64)
    assert baked.faces.shape == mesh.faces.shape and baked.texture.shape == (128, 128, 3)
    np.testing.assert_allclose(baked.vertices[baked.faces], mesh.vertices[mesh.faces], atol=1e-6)
    assert baked.uv.min() >= 0 and baked.uv.max() <= 1
    centers, places = baked.vertices[baked.faces].mean(1), baked.uv[baked.faces].mean(1)
    row, column = ((1 - places[:, 1]) * 128).astype(int), (places[:, 0] * 128).astype(int)
    seen = baked.texture[row, column] / 255.0
    right = centers[:, 1] > 0.2
    assert (seen[right, 2] > 0.8).all() and (seen[right, 0] < 0.3).all()
    left = centers[:, 1] < -0.2
    assert (seen[left, 0] > 0.8).all() and (seen[left, 2] < 0.3).all()
