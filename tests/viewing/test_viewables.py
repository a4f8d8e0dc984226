"""Files to show: what is read of them, and one line for what cannot be."""

import numpy as np
import pytest
import trimesh

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.interop import write_gaussians
from diffgs_jax.meshing import Mesh, read_mesh, write_mesh
from diffgs_jax.viewing import MeshFile, read_viewable


@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat", ".PLY"])
def test_splats(tmp_path, gaussians, suffix):
    path = tmp_path / f"ball{suffix}"
    write_gaussians(path, gaussians)
    viewable = read_viewable(path)
    found = np.sort(np.asarray(viewable.means), axis=0)  # .splat orders by size
    np.testing.assert_allclose(found, np.sort(gaussians.means, axis=0), atol=1e-3)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_meshes(tmp_path, suffix):
    box = trimesh.creation.box((1, 2, 3))
    box.apply_translation((5, 0, 0))
    box.export(tmp_path / f"box{suffix}")
    viewable = read_viewable(tmp_path / f"box{suffix}")
    assert isinstance(viewable, MeshFile) and viewable.triangles == 12
    np.testing.assert_allclose(viewable.vertices.min(0), (4.5, -1, -1.5), atol=1e-5)
    again = trimesh.load_scene(trimesh.util.wrap_as_stream(viewable.glb), file_type="glb")
    assert again.to_geometry().volume == pytest.approx(6, abs=1e-4)


def test_colours_of_a_mesh_with_linear_and_one_with_encoded_colours(tmp_path):
    mesh = Mesh(*(np.asarray(leaf) for leaf in _corner()))
    shown = []
    for suffix in (".glb", ".obj"):
        write_mesh(tmp_path / f"corner{suffix}", mesh)
        (tmp_path / "shown.glb").write_bytes(read_viewable(tmp_path / f"corner{suffix}").glb)
        shown.append(read_mesh(tmp_path / "shown.glb"))
    for found in shown:
        np.testing.assert_allclose(found.colors, mesh.colors, atol=0.02)  # bytes, linear ones
        np.testing.assert_allclose(found.vertices, mesh.vertices, atol=1e-5)


def _corner():
    vertices = np.asarray([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.asarray([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    return vertices, faces, np.asarray([[0.5, 0.5, 0.5], [0.8, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.9]], np.float32)


def test_placed_parts_are_where_their_scene_has_them(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix((0, 0, 7)))
    scene.export(tmp_path / "placed.glb")
    assert read_viewable(tmp_path / "placed.glb").vertices[:, 2].min() == pytest.approx(6.5)


def test_values_that_are_no_numbers_are_refused(tmp_path, gaussians):
    path = tmp_path / "broken.ply"
    write_gaussians(path, gaussians)
    content = bytearray(path.read_bytes())
    first = content.index(b"end_header\n") + len(b"end_header\n")
    content[first : first + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    with pytest.raises(DataError, match="1 values of the Gaussians' means are not finite"):
        read_viewable(path)


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("absent.ply", None, UserError, "there is no file"),
        ("picture.png", b"", UserError, ".ply, .spz, .splat, .sog, .glb, .obj"),
        ("text.ply", b"not a splat", DataError, "is not a .ply"),
        ("text.spz", b"not a splat", DataError, "text.spz"),
        ("text.splat", b"not a splat", DataError, "text.splat"),
        ("text.glb", b"not a mesh", DataError, "is not JSON that can be used"),
        ("empty.obj", b"# nothing\n", DataError, "empty.obj"),
        ("points.obj", b"v 0 0 0\nv 1 0 0\n", DataError, "points.obj"),
        ("wild.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", DataError, "wild.obj"),
    ],
)
def test_one_line_for_what_cannot_be_shown(tmp_path, name, content, kind, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=words) as caught:
        read_viewable(tmp_path / name)
    assert "\n" not in str(caught.value)
