"""What a glTF material means, in the pictures of both engines: of a square whose every point's colour is known."""

import numpy as np
import pytest
from gltf_files import Builder, linear, srgb

from diffgs_jax.errors import DataError
from diffgs_jax.geometry import orbit
from diffgs_jax.meshing import read_mesh, read_parts
from diffgs_jax.synthesis.meshes.light import brightness
from diffgs_jax.synthesis.meshes.loading import load_mesh, triangles

SIZE = 64
FRONT = brightness(np.asarray([[1.0, 0.0, 0.0]]))[0]
"""How bright a surface is that faces azimuth 0."""


@pytest.fixture
def picture(renderer, tmp_path):
    """Renders what a builder makes from the front: RGBA in [0, 1], without the light, by the square's own x and y."""

    def render(builder):
        (seen,) = renderer.render(
            load_mesh(builder.write(tmp_path / "a.glb")), orbit(np.zeros(1), elevation_degrees=0.0)
        )
        values = seen / 255
        values[..., :3] /= FRONT

        def at(x, y):
            # The sphere of radius 1 through the corners, seen from 2.7 through 50°.
            half = SIZE / 2 / np.tan(np.radians(25)) / 2.7 / np.sqrt(2)
            return values[int(SIZE / 2 - half * y), int(SIZE / 2 + half * x)]

        return at

    return render


def material(mode, builder, pixels=None, factor=(1, 1, 1, 1), **more):
    rough = {"baseColorFactor": list(factor)}
    if pixels is not None:
        rough["baseColorTexture"] = builder.texture(pixels, **more.pop("sampler", {}))
    return {"pbrMetallicRoughness": rough, "alphaMode": mode, **more}


def test_vertex_colours_are_interpolated_as_linear_light(picture):
    builder = Builder()
    builder.square(attributes={"COLOR_0": builder.array([[0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]])})
    at = picture(builder)
    for height in (-0.5, 0.0, 0.5):
        np.testing.assert_allclose(at(0.0, height)[:3], srgb((height + 1) / 2), atol=0.02)


def test_factor_vertex_colour_and_texture_are_multiplied_as_linear_light(picture):
    builder = Builder()
    look = material("OPAQUE", builder, np.full((4, 4, 3), 150), factor=(0.5, 1, 1, 0.1))
    builder.square(look, attributes={"COLOR_0": builder.array([[0.5, 0.25, 1, 0.2]] * 4)})
    found = picture(builder)(0, 0)
    np.testing.assert_allclose(found[:3], srgb(linear(150 / 255) * np.asarray([0.25, 0.25, 1.0])), atol=0.012)
    assert found[3] == 1  # alpha is nothing to OPAQUE


@pytest.mark.parametrize(("cutoff", "shown"), [(None, (0, 1, 1)), (0.25, (1, 1, 1)), (0.75, (0, 0, 1)), (1.5, None)])
def test_mask_cuts_at_its_cutoff(picture, cutoff, shown):
    """Three bands of alpha 0.3, 0.6 and 1; what is not cut away is solid."""
    builder = Builder()
    pixels = np.full((9, 9, 4), 255)
    pixels[:, :3, 3], pixels[:, 3:6, 3] = 0.3 * 255, 0.6 * 255
    builder.square(material("MASK", builder, pixels, **({} if cutoff is None else {"alphaCutoff": cutoff})))
    if shown is None:
        with pytest.raises(DataError, match="no visible triangle"):
            picture(builder)
        return
    at = picture(builder)
    assert tuple(at(x, 0)[3] for x in (-0.67, 0, 0.67)) == shown


def test_mask_counts_the_alpha_of_factor_and_vertices(picture):
    builder = Builder()
    look = material("MASK", builder, np.full((4, 4, 4), 204), factor=(1, 1, 1, 0.8), alphaCutoff=0.32)
    builder.square(look, attributes={"COLOR_0": builder.array([[1, 1, 1, 0]] * 2 + [[1, 1, 1, 1]] * 2)})
    at = picture(builder)  # 0.8 × 0.8 × (y + 1) / 2 reaches 0.32 at y = 0
    assert at(0, -0.2)[3] == 0 and at(0, 0.2)[3] == 1


def test_blend_lets_through_what_texture_factor_and_vertices_say(picture):
    builder = Builder()
    pixels = np.full((8, 8, 4), [255, 255, 255, 153])
    pixels[:, :4, 3] = 0
    look = material("BLEND", builder, pixels, factor=(1, 0.5, 0.25, 0.5))
    builder.square(look, attributes={"COLOR_0": builder.array([[1, 1, 1, 0.5]] * 4)})
    at = picture(builder)
    assert at(-0.6, 0)[3] == 0
    found = at(0.6, 0)
    assert abs(found[3] - 0.6 * 0.5 * 0.5) < 1 / 255
    np.testing.assert_allclose(found[:3], srgb([1, 0.5, 0.25]), atol=0.03)


def test_blend_that_is_solid_everywhere_hides_what_is_behind(picture, tmp_path):
    builder = Builder()
    builder.square(material("BLEND", builder, np.full((2, 2, 4), 255)))
    assert picture(builder)(0, 0)[3] == 1
    (part,) = load_mesh(tmp_path / "a.glb")
    assert not part.blended


@pytest.mark.parametrize(("wrap", "expected"), [(10497, "gbrg"), (33071, "rrrg"), (33648, "grrg")])
def test_wraps_outside_of_the_texture(picture, wrap, expected):
    """Three stripes, red, green, blue, on u from −2/3 to 2/3: left of 0 they repeat, red goes on, or is mirrored."""
    builder = Builder()
    stripes = np.repeat(np.eye(3)[None] * 255, 12, axis=1).repeat(36, axis=0)
    look = material("OPAQUE", builder, stripes, sampler={"wrapS": wrap, "wrapT": 33071})
    uv = [[-2 / 3, 3], [2 / 3, 3], [2 / 3, -2], [-2 / 3, -2]]
    builder.square(look, uv=uv)
    at = picture(builder)
    found = "".join("rgb"[int(at(x, 0)[:3].argmax())] for x in (-0.75, -0.25, 0.25, 0.75))
    assert found == expected
    for x in (-0.75, -0.25, 0.25, 0.75):  # and far below and above it
        np.testing.assert_allclose(at(x, 0.9), at(x, -0.9), atol=0.01)


def test_both_readers_place_and_colour_alike(tmp_path):
    """A scene of every kind of colour: the dataset's corners are the mesh's vertices, but for size and place."""
    builder = Builder()
    builder.square({"pbrMetallicRoughness": {"baseColorFactor": [0.2, 0.4, 0.8, 1]}})
    builder.square(attributes={"COLOR_0": builder.array(np.linspace(0, 1, 12).reshape(4, 3))})
    builder.square(
        {"emissiveFactor": [0.1, 0.3, 0.2], "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}}, mode=4
    )
    builder.tree["nodes"] = [
        {"mesh": 0, "rotation": [0.5, 0.5, 0.5, 0.5]},
        {"mesh": 1, "translation": [3, 1, 0], "scale": [1, 2, -1]},
        {"mesh": 2, "translation": [0, 0, 5]},
    ]
    builder.tree["scenes"] = [{"nodes": [0, 1, 2]}]
    path = builder.write(tmp_path / "a.glb")
    mesh, parts = read_mesh(path), load_mesh(path)
    corners, soup = mesh.vertices[mesh.faces].reshape(-1, 3).astype(float), triangles(parts).reshape(-1, 3)
    scale = np.ptp(soup, axis=0).max() / np.ptp(corners, axis=0).max()
    np.testing.assert_allclose(soup, scale * (corners - corners[0]) + soup[0], atol=1e-5)
    colors = np.concatenate([part.colors[..., :3].reshape(-1, 3) for part in parts])
    np.testing.assert_allclose(srgb(colors), mesh.colors[mesh.faces].reshape(-1, 3), atol=1e-6)


def test_plain_files_read_like_trimesh_reads_them(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    random = np.random.default_rng(0)
    scene = trimesh.Scene()
    for number in range(4):
        ball = trimesh.creation.icosphere(1)
        ball.visual = trimesh.visual.TextureVisuals(
            uv=random.uniform(0, 1, (len(ball.vertices), 2)),
            material=trimesh.visual.material.PBRMaterial(baseColorFactor=[*random.uniform(0, 1, 3), 1.0]),
        )
        ball.vertex_normals  # noqa: B018  # are computed, and so written
        pose = trimesh.transformations.random_rotation_matrix(random.uniform(0, 1, 3))
        pose[:3, 3] = random.uniform(-3, 3, 3)
        scene.add_geometry(ball, node_name=f"node{number}", geom_name=f"ball{number}", transform=pose)
    scene.export(tmp_path / "a.glb", include_normals=True)
    parts = read_parts(tmp_path / "a.glb")
    again = trimesh.load_scene(tmp_path / "a.glb", process=False)
    placed = [again.graph[name] for name in again.graph.nodes_geometry]
    theirs = {tuple(np.round(pose[:3, 3], 4)): (again.geometry[name], pose) for pose, name in placed}
    assert len(parts) == len(theirs) == 4
    for part in parts:
        mesh, pose = theirs[min(theirs, key=lambda at: np.linalg.norm(part.vertices.mean(axis=0) - at))]
        np.testing.assert_allclose(part.vertices, trimesh.transform_points(mesh.vertices, pose), atol=1e-5)
        np.testing.assert_array_equal(part.faces, mesh.faces)
        np.testing.assert_allclose(part.colors[0, :3] * 255, mesh.visual.material.baseColorFactor[:3], atol=0.51)
        unit = part.normals / np.linalg.norm(part.normals, axis=1, keepdims=True)
        np.testing.assert_allclose(unit, mesh.vertex_normals @ pose[:3, :3].T, atol=1e-5)


def test_flat_normals_where_a_file_has_none(tmp_path):
    builder = Builder()
    builder.square()
    (part,) = load_mesh(builder.write(tmp_path / "a.glb"))
    np.testing.assert_allclose(part.normals, np.broadcast_to([1.0, 0, 0], part.normals.shape))  # +z of the file
