"""Files made by hand, and what the glTF 2.0 specification says is in them, calculated here."""

import base64
import io
import json

import numpy as np
import pytest
from gltf_files import CORNERS, TWO, UV, Builder, linear, pack_glb, srgb
from PIL import Image, ImageCms

from diffgs_jax.errors import DataError
from diffgs_jax.meshing import read_mesh, read_parts
from diffgs_jax.synthesis.meshes.loading import load_mesh

LEFT_RED_RIGHT_GREEN = [[[255, 0, 0], [0, 255, 0]]]


@pytest.fixture
def made(tmp_path):
    """Reads what a builder makes with both readers; returns the parts of the file and the mesh."""

    def read(builder):
        path = builder.write(tmp_path / "made.glb")
        load_mesh(path)
        return read_parts(path), read_mesh(path)

    return read


def test_vertex_colours_are_a_linear_multiplier_with_and_without_material(made):
    bytes_ = np.asarray([[0, 64, 255, 255], [128, 128, 128, 255], [255, 255, 255, 255], [1, 2, 3, 255]])
    for kind, scale in (("u1", 1), ("u2", 257), ("f4", 1 / 255)):
        for width in (3, 4):
            bare, dyed = Builder(), Builder()
            for builder, material in (
                (bare, None),
                (dyed, {"pbrMetallicRoughness": {"baseColorFactor": [0.5, 1, 0.25, 1]}}),
            ):
                more = {} if kind == "f4" else {"normalized": True}
                stride = 4 * -(-width * np.dtype(kind).itemsize // 4)
                colors = builder.array(bytes_[:, :width] * scale, kind, stride, **more)
                builder.square(material, attributes={"COLOR_0": colors})
            _, mesh = made(bare)
            np.testing.assert_allclose(mesh.colors, srgb(bytes_[:, :3] / 255), atol=1e-6)
            _, mesh = made(dyed)
            np.testing.assert_allclose(mesh.colors, srgb(bytes_[:, :3] / 255 * [0.5, 1, 0.25]), atol=1e-6)


def test_vertex_colours_multiply_textures_too(made):
    builder = Builder()
    texture = builder.texture(np.full((2, 2, 3), 188))
    colors = builder.array([[0.5, 1, 0]] * 4)
    builder.square(
        {"pbrMetallicRoughness": {"baseColorTexture": texture, "baseColorFactor": [1, 0.5, 1, 1]}},
        attributes={"COLOR_0": colors},
    )
    _, mesh = made(builder)
    np.testing.assert_allclose(
        mesh.colors, np.tile(srgb(linear(188 / 255) * np.asarray([0.5, 0.5, 0.0])), (4, 1)), atol=1e-6
    )


def test_a_plain_colour_with_texture_coordinates_and_no_material_at_all(made):
    builder = Builder()
    builder.square({"pbrMetallicRoughness": {"baseColorFactor": [0.25, 0.5, 0.75, 1]}})
    _, mesh = made(builder)
    np.testing.assert_allclose(mesh.colors, np.tile(srgb([0.25, 0.5, 0.75]), (4, 1)), atol=1e-6)
    builder = Builder()
    builder.square()
    _, mesh = made(builder)
    np.testing.assert_array_equal(mesh.colors, np.ones((4, 3)))  # the default material is white


@pytest.mark.parametrize(("kind", "most", "stride"), [("u1", 255, 4), ("u2", 65535, None)])
def test_texture_coordinates_of_normalised_integers(made, kind, most, stride):
    builder = Builder()
    texture = builder.texture(LEFT_RED_RIGHT_GREEN)
    fractions = np.asarray([[0.2, 1], [0.8, 1], [0.8, 0], [0.2, 0]])
    uv = builder.array(np.rint(fractions * most), kind, stride, normalized=True)
    builder.square({"pbrMetallicRoughness": {"baseColorTexture": texture}}, uv=None, attributes={"TEXCOORD_0": uv})
    (part,), mesh = made(builder)
    expected = np.rint(fractions * most) / most
    np.testing.assert_allclose(part.uv, np.stack([expected[:, 0], 1 - expected[:, 1]], 1), atol=1e-9)
    np.testing.assert_array_equal(mesh.colors, [[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_sparse_accessors_replace_what_a_view_or_zeros_say(made):
    builder = Builder()
    primitive = builder.square()
    builder.square()
    moved = np.asarray([[5, 6, 7], [8, 9, 10]], np.float32)
    sparse = {
        "count": 2,
        "indices": {"bufferView": builder.view(np.asarray([1, 3], np.uint8).tobytes()), "componentType": 5121},
        "values": {"bufferView": builder.view(moved.tobytes())},
    }
    builder.tree["accessors"][primitive["attributes"]["POSITION"]]["sparse"] = sparse
    builder.tree["accessors"].append({"componentType": 5126, "type": "VEC3", "count": 4, "sparse": sparse})
    builder.tree["meshes"][1]["primitives"][0]["attributes"]["POSITION"] = len(builder.tree["accessors"]) - 1
    builder.tree["nodes"].append({"mesh": 1})
    builder.tree["scenes"] = [{"nodes": [0, 1]}]
    (first, second), _ = made(builder)
    np.testing.assert_array_equal(first.vertices, [CORNERS[0], moved[0], CORNERS[2], moved[1]])
    np.testing.assert_array_equal(second.vertices, [[0, 0, 0], moved[0], [0, 0, 0], moved[1]])


def test_a_second_set_of_coordinates_and_a_transform_of_them(made):
    """KHR_texture_transform's own example: the lower left quadrant of the image, turned clockwise by 90°."""
    builder = Builder()
    texture = builder.texture(np.arange(16).reshape(4, 4, 1) * [10, 5, 1])
    move = {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5], "texCoord": 1}
    info = {**texture, "texCoord": 0, "extensions": {"KHR_texture_transform": move}}
    second = builder.array(UV)
    builder.square({"pbrMetallicRoughness": {"baseColorTexture": info}}, uv=UV * 0.1, attributes={"TEXCOORD_1": second})
    (part,), _ = made(builder)
    # What stands upright on the quadrant is turned clockwise on the square: seen from the image's lower left corner
    # (0, 1), the square's lower left is the quadrant's lower right, its upper left the quadrant's lower left.
    down = np.asarray([[0.5, 1], [0.5, 0.5], [0, 0.5], [0, 1]])
    np.testing.assert_allclose(part.uv, np.stack([down[:, 0], 1 - down[:, 1]], 1), atol=1e-9)
    # Without the extension's texCoord, the textureInfo's counts.
    builder = Builder()
    texture = {**builder.texture(LEFT_RED_RIGHT_GREEN), "texCoord": 1}
    second = builder.array(UV[::-1])
    builder.square({"pbrMetallicRoughness": {"baseColorTexture": texture}}, attributes={"TEXCOORD_1": second})
    (part,), _ = made(builder)
    np.testing.assert_allclose(part.uv, np.stack([UV[::-1, 0], 1 - UV[::-1, 1]], 1))


def test_quantised_meshes(made):
    builder = Builder()
    plain = builder.array(CORNERS * [10, 20, 1] + [0, 0, 3], "i1", 4)
    normal = builder.array([[0, 0, 127]] * 4, "i1", 4, normalized=True)
    builder.square(attributes={"NORMAL": normal})["attributes"]["POSITION"] = plain
    fractions = builder.array(
        [[-32768, -32767, 0], [32767, -32767, 0], [32767, 32767, 0], [0, 16384, 0]], "i2", 8, normalized=True
    )
    builder.square()["attributes"]["POSITION"] = fractions
    builder.tree["nodes"] = [{"mesh": 0, "scale": [0.1, 0.1, 0.1]}, {"mesh": 1}]
    builder.tree["scenes"] = [{"nodes": [0, 1]}]
    builder.tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    (first, second), _ = made(builder)
    np.testing.assert_allclose(first.vertices, CORNERS * [1, 2, 0.1] + [0, 0, 0.3], atol=1e-9)
    np.testing.assert_allclose(first.normals / np.linalg.norm(first.normals, axis=1, keepdims=True), [[0, 0, 1]] * 4)
    np.testing.assert_allclose(second.vertices, [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [0, 16384 / 32767, 0]], atol=1e-9)


def test_skins_move_vertices_and_their_node_does_not(made):
    builder = Builder()
    joints = builder.array([[0, 1, 0, 0]] * 4, "u1")
    weights = builder.array([[255, 0, 0, 0], [0, 255, 0, 0], [51, 204, 0, 0], [255, 0, 0, 0]], "u1", normalized=True)
    builder.square(attributes={"JOINTS_0": joints, "WEIGHTS_0": weights})
    inverse = np.stack([np.eye(4), np.eye(4)])
    inverse[1, :3, 3] = [0, 0, 2]
    matrices = builder.array(inverse.transpose(0, 2, 1).reshape(2, 16))  # stored by columns
    builder.tree["skins"] = [{"joints": [1, 2], "inverseBindMatrices": matrices}]
    half = np.sqrt(0.5)
    builder.tree["nodes"] = [
        {"mesh": 0, "skin": 0, "translation": [100, 100, 100]},
        {"translation": [1, 0, 0], "children": [2]},
        {"translation": [0, 5, 0], "rotation": [0, 0, half, half], "scale": [2, 2, 2]},  # a quarter turn about z
    ]
    builder.tree["scenes"] = [{"nodes": [0, 1]}]
    (part,), _ = made(builder)

    def first(x, y, z):
        return np.asarray([x + 1, y, z])

    def second(x, y, z):  # the bind matrix, the second joint, then the first, in which it is
        return np.asarray([-2 * y + 1, 2 * x + 5, 2 * (z + 2)])

    expected = [first(-1, -1, 0), second(1, -1, 0), 0.2 * first(1, 1, 0) + 0.8 * second(1, 1, 0), first(-1, 1, 0)]
    np.testing.assert_allclose(part.vertices, expected, atol=1e-6)


def test_morph_targets_at_their_stored_weights(made):
    builder = Builder()
    up = builder.array([[0, 0, 1]] * 4)
    right = builder.array([[2, 0, 0]] * 4)
    builder.square(targets=[{"POSITION": up}, {"POSITION": right}])
    builder.tree["meshes"][0]["weights"] = [0.5, 0]
    builder.tree["nodes"] = [{"mesh": 0}, {"mesh": 0, "weights": [0, 0.25]}]
    builder.tree["scenes"] = [{"nodes": [0, 1]}]
    (first, second), _ = made(builder)
    np.testing.assert_allclose(first.vertices, CORNERS + [0, 0, 0.5])
    np.testing.assert_allclose(second.vertices, CORNERS + [0.5, 0, 0])


def test_strips_and_fans(made):
    """Section 3.7.2.1: strips are (i, i + 1 + i mod 2, i + 2 − i mod 2), fans (i + 1, i + 2, 0)."""
    positions = np.asarray([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 2, 0], [0, 2, 1]], np.float32)
    expected = {5: [[0, 1, 2], [1, 3, 2], [2, 3, 4]], 6: [[1, 2, 0], [2, 3, 0], [3, 4, 0]]}
    for mode, faces in expected.items():
        for indexed in (False, True):
            builder = Builder()
            primitive = {
                "attributes": {"POSITION": builder.array(positions[::-1] if indexed else positions)},
                "mode": mode,
            }
            if indexed:
                primitive["indices"] = builder.array([[4], [3], [2], [1], [0]], "u4")
            builder.tree["meshes"] = [{"primitives": [primitive]}]
            (part,), _ = made(builder)
            np.testing.assert_array_equal(part.vertices[part.faces], positions[np.asarray(faces)])


def test_nodes_are_placed_hidden_and_mirrored(made):
    builder = Builder()
    builder.square()
    turned = np.asarray([[0, 0, 1, 5], [0, 2, 0, 6], [-1, 0, 0, 7], [0, 0, 0, 1]], float)
    builder.tree["nodes"] = [
        {"children": [1, 2, 3], "translation": [0, 0, 10]},
        {"mesh": 0, "matrix": turned.T.reshape(-1).tolist()},
        {"mesh": 0, "scale": [-1, 1, 1], "rotation": [0, 1, 0, 0]},
        {"children": [4], "extensions": {"KHR_node_visibility": {"visible": False}}},
        {"mesh": 0},
    ]
    (first, second), mesh = made(builder)
    np.testing.assert_allclose(first.vertices, CORNERS @ turned[:3, :3].T + [5, 6, 17])
    np.testing.assert_allclose(second.vertices, CORNERS + [0, 0, 10])  # half a turn about y undoes a mirrored x
    assert len(mesh.faces) == 4
    builder.tree["scene"], builder.tree["scenes"] = 1, [{"nodes": [0]}, {"nodes": [5]}]
    builder.tree["nodes"].append({"mesh": 0})
    assert len(made(builder)[0]) == 1


def test_emission_is_added_and_alone_is_the_colour(made):
    def colors(material, texture=None, **more):
        builder = Builder()
        if texture is not None:
            material["emissiveTexture"] = builder.texture(texture)
        builder.square(material, **more)
        return made(builder)[1].colors

    black = {"baseColorFactor": [0, 0, 0, 1]}
    np.testing.assert_allclose(
        colors({"pbrMetallicRoughness": black, "emissiveFactor": [1, 0.5, 0]})[0], srgb([1, 0.5, 0]), atol=1e-6
    )
    textured = {"pbrMetallicRoughness": black, "emissiveFactor": [1, 1, 0.25]}
    found = colors(textured, [[[255, 0, 0], [0, 255, 255]]])
    np.testing.assert_allclose(found[0], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], srgb([0, 1, 0.25]), atol=1e-6)
    grey = {"baseColorFactor": [0.1, 0.2, 0.3, 1]}
    strong = {"KHR_materials_emissive_strength": {"emissiveStrength": 2.0}}
    found = colors({"pbrMetallicRoughness": grey, "emissiveFactor": [0.1, 0.2, 0.1], "extensions": strong})
    np.testing.assert_allclose(found[0], srgb([0.3, 0.6, 0.5]), atol=1e-6)
    found = colors({"pbrMetallicRoughness": grey, "emissiveFactor": [1, 1, 1]}, [[[0, 0, 0], [255, 128, 0]]])
    np.testing.assert_allclose(found[0], srgb([0.1, 0.2, 0.3]), atol=1 / 255)
    np.testing.assert_allclose(found[1], srgb([1, linear(128 / 255) + 0.2, 0.3]), atol=1 / 255)
    found = colors(
        {"pbrMetallicRoughness": grey, "emissiveFactor": [1, 1, 1], "extensions": {"KHR_materials_unlit": {}}}
    )
    np.testing.assert_allclose(found[0], srgb([0.1, 0.2, 0.3]), atol=1e-6)


def test_glossy_materials_become_base_colours(made):
    """KHR_materials_pbrSpecularGlossiness: what shines like plastic has its diffuse colour, metal its specular one."""
    for diffuse, specular, expected in (
        ([0.2, 0.4, 0.6, 1], [0.04] * 3, [0.2, 0.4, 0.6]),
        ([0, 0, 0, 1], [1.0, 0.8, 0.2], [1.0, 0.8, 0.2]),
    ):
        builder = Builder()
        glossy = {"diffuseFactor": diffuse, "specularFactor": specular}
        builder.square({"extensions": {"KHR_materials_pbrSpecularGlossiness": glossy}})
        np.testing.assert_allclose(made(builder)[1].colors[0], srgb(expected), atol=2e-3)
    builder = Builder()
    glossy = {"diffuseTexture": builder.texture(LEFT_RED_RIGHT_GREEN), "specularFactor": [0.04] * 3}
    builder.square({"extensions": {"KHR_materials_pbrSpecularGlossiness": glossy}})
    np.testing.assert_allclose(made(builder)[1].colors, [[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]], atol=1 / 255)


def test_wraps(made):
    """Nearest texels at u = −0.25 and 1.25, which show the other half, the same half, or the edge."""
    uv = [[-0.25, 0.5], [1.25, 0.5], [1.75, 0.5], [-0.75, 0.5]]
    red, green = [1, 0, 0], [0, 1, 0]
    for wrap, expected in (
        (10497, [green, red, green, red]),
        (33071, [red, green, green, red]),
        (33648, [red, green, red, green]),
    ):
        builder = Builder()
        texture = builder.texture(LEFT_RED_RIGHT_GREEN, wrapS=wrap)
        builder.square({"pbrMetallicRoughness": {"baseColorTexture": texture}}, uv=uv)
        np.testing.assert_array_equal(made(builder)[1].colors, expected)


def test_pictures_have_neither_orientation_nor_profile(made, tmp_path):
    builder = Builder()
    info = builder.texture([[[0, 0, 0]]])
    wide = Image.fromarray(np.kron(np.asarray(LEFT_RED_RIGHT_GREEN, np.uint8), np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    wide.save(data, "PNG", exif=exif, icc_profile=profile)
    builder.tree["images"][0]["bufferView"] = builder.view(data.getvalue())
    builder.square({"pbrMetallicRoughness": {"baseColorTexture": info}})
    np.testing.assert_array_equal(made(builder)[1].colors, [[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]])
    grey = Image.fromarray(np.asarray([[0, 32768], [32768, 65535]], np.uint16))
    data = io.BytesIO()
    grey.save(data, "PNG")
    builder.tree["images"][0]["bufferView"] = builder.view(data.getvalue())
    (part,), _ = made(builder)
    np.testing.assert_array_equal(part.texture[..., 0], [[0, 128], [128, 255]])


def test_files_beside_and_data_in_the_json(tmp_path):
    builder = Builder()
    builder.square()
    tree = {**builder.tree, "buffers": [{"byteLength": len(builder.binary), "uri": "my%20numbers.bin"}]}
    (tmp_path / "my numbers.bin").write_bytes(builder.binary)
    (tmp_path / "a.gltf").write_text(json.dumps(tree))
    (part,) = read_parts(tmp_path / "a.gltf")
    np.testing.assert_array_equal(part.vertices, CORNERS)
    encoded = base64.b64encode(builder.binary).decode()
    tree["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{encoded}"
    (tmp_path / "a.gltf").write_text(json.dumps(tree))
    (part,) = read_parts(tmp_path / "a.gltf")
    np.testing.assert_array_equal(part.faces, TWO)
    (tmp_path / "inner").mkdir()
    for uri in (
        "../my numbers.bin",
        str(tmp_path / "my numbers.bin"),
        "http://localhost/x.bin",
        "..",
        "x\0y",
        "a" * 5000,
        7,
    ):
        tree["buffers"][0]["uri"] = uri
        (tmp_path / "inner" / "a.gltf").write_text(json.dumps(tree))
        with pytest.raises(DataError):
            read_parts(tmp_path / "inner" / "a.gltf")


def refused(builder, tmp_path, words):
    path = builder.write(tmp_path / "refused.glb")
    for read in (read_parts, read_mesh, load_mesh):
        with pytest.raises(DataError, match=words) as error:
            read(path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 700


def test_what_is_compressed_or_unknown_is_refused_by_name(tmp_path):
    for name in ("KHR_draco_mesh_compression", "KHR_texture_basisu", "EXT_meshopt_compression", "ACME_unheard_of"):
        builder = Builder()
        builder.square()
        builder.tree["extensionsRequired"] = [name]
        refused(builder, tmp_path, name)
    builder = Builder()  # Draco that is not required, and has nothing to fall back on
    primitive = builder.square(extensions={"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}})
    del builder.tree["accessors"][primitive["attributes"]["POSITION"]]["bufferView"]
    refused(builder, tmp_path, "KHR_draco_mesh_compression")
    builder = Builder()
    builder.square()
    builder.tree["bufferViews"][0] |= {"buffer": 1, "extensions": {"EXT_meshopt_compression": {"buffer": 0}}}
    text = json.dumps({**builder.tree, "buffers": [{"byteLength": len(builder.binary)}, {"byteLength": 48}]})
    (tmp_path / "m.glb").write_bytes(pack_glb(text.encode(), builder.binary))
    with pytest.raises(DataError, match="EXT_meshopt_compression"):
        read_parts(tmp_path / "m.glb")
    builder = Builder()
    info = builder.texture([[[0, 0, 0]]])
    builder.tree["textures"][0] = {"extensions": {"KHR_texture_basisu": {"source": 0}}}
    builder.square({"pbrMetallicRoughness": {"baseColorTexture": info}})
    refused(builder, tmp_path, "KHR_texture_basisu")
    builder.tree["textures"][0] = {"source": 0}
    builder.tree["images"][0]["bufferView"] = builder.view(b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(80))
    refused(builder, tmp_path, "KTX2")
    builder = Builder()
    builder.square()
    builder.tree["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {}}}
    refused(builder, tmp_path, "EXT_mesh_gpu_instancing")


def test_what_can_be_had_without_an_extension_is_read(made):
    builder = Builder()
    builder.square(extensions={"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}})
    builder.tree["extensionsUsed"] = ["KHR_draco_mesh_compression", "KHR_materials_clearcoat"]
    info = builder.texture(LEFT_RED_RIGHT_GREEN)
    builder.tree["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": 99}}
    builder.square({"pbrMetallicRoughness": {"baseColorTexture": info}})
    builder.tree["nodes"] = [{"mesh": 0}, {"mesh": 1}]
    builder.tree["scenes"] = [{"nodes": [0, 1]}]
    (first, second), _ = made(builder)
    np.testing.assert_array_equal(first.vertices, CORNERS)
    assert second.texture is not None


SPOILS = {
    "no accessor": lambda t: t["meshes"][0]["primitives"][0]["attributes"].update(POSITION=99),
    "negative accessor": lambda t: t["meshes"][0]["primitives"][0]["attributes"].update(POSITION=-1),
    "a list for an index": lambda t: t["meshes"][0]["primitives"][0].update(material=[0]),
    "a text for a count": lambda t: t["accessors"][0].update(count="4"),
    "true for a count": lambda t: t["accessors"][0].update(count=True),
    "a huge count": lambda t: t["accessors"][0].update(count=10**12),
    "a huge count of zeros": lambda t: (t["accessors"][0].update(count=10**9), t["accessors"][0].pop("bufferView")),
    "no count": lambda t: t["accessors"][0].pop("count"),
    "half a vertex": lambda t: t["bufferViews"][0].update(byteLength=47),
    "an offset past the end": lambda t: t["accessors"][0].update(byteOffset=40),
    "a short stride": lambda t: t["bufferViews"][0].update(byteStride=4),
    "a view past its buffer": lambda t: t["bufferViews"][0].update(byteOffset=10**6),
    "no such buffer": lambda t: t["bufferViews"][0].update(buffer=3),
    "an unknown kind": lambda t: t["accessors"][0].update(componentType=5124),
    "positions of two numbers": lambda t: t["accessors"][0].update(type="VEC2", count=4),
    "indices out of range": lambda t: t["accessors"][0].update(count=3),
    "indices of floats": lambda t: t["accessors"][-1].update(componentType=5126),
    "an unknown mode": lambda t: t["meshes"][0]["primitives"][0].update(mode=7),
    "a circle of nodes": lambda t: t.update(nodes=[{"mesh": 0}, {"children": [2]}, {"children": [1]}]),
    "its own child": lambda t: t["nodes"][0].update(children=[0]),
    "no such mesh": lambda t: t["nodes"][0].update(mesh=5),
    "no such scene": lambda t: t.update(scene=4),
    "a dict for a list": lambda t: t.update(nodes={"0": {}}),
    "a number for a node": lambda t: t.update(nodes=[5]),
    "a short matrix": lambda t: t["nodes"][0].update(matrix=[1, 0, 0]),
    "a matrix that is not affine": lambda t: t["nodes"][0].update(matrix=[1.0] * 16),
    "a rotation of zero": lambda t: t["nodes"][0].update(rotation=[0, 0, 0, 0]),
    "an infinite scale": lambda t: t["nodes"][0].update(scale=[1e999, 1, 1]),
    "glTF 1": lambda t: t.update(asset={"version": "1.0"}),
    "glTF 3": lambda t: t.update(asset={"version": "2.0", "minVersion": "3.0"}),
    "no asset": lambda t: t.pop("asset"),
    "no such material": lambda t: t["meshes"][0]["primitives"][0].update(material=3),
    "a skin that is not there": lambda t: t["nodes"][0].update(skin=0),
    "an extension in two lines": lambda t: t.update(extensionsRequired=["a\nb\ud800"]),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_what_the_specification_forbids_is_one_line(tmp_path, spoil):
    builder = Builder()
    builder.square()
    SPOILS[spoil](builder.tree)
    refused(builder, tmp_path, "refused.glb")


def test_json_that_is_none_or_bottomless(tmp_path):
    for number, text in enumerate(
        (
            b"",
            b"[]",
            b"{",
            b'"text"',
            b"[" * 100_000,
            b'{"asset":' + b"9" * 5000 + b"}",
            b'{"a": NaN}',
            b"\xff\xfe",
            b"[],".join([b"["] * 4_100_000),
        )
    ):
        for content, name in ((pack_glb(text, b""), f"{number}.glb"), (text, f"{number}.gltf")):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(DataError):
                read_parts(tmp_path / name)


def test_points_and_lines_are_no_triangles(tmp_path):
    builder = Builder()
    builder.square(mode=1)
    assert read_parts(builder.write(tmp_path / "lines.glb")) == []
    for read in (read_mesh, load_mesh):
        with pytest.raises(DataError, match="triangle"):
            read(tmp_path / "lines.glb")


def test_truncations_and_headers(tmp_path):
    builder = Builder()
    builder.square()
    whole = builder.glb()
    for length in (*range(0, 40), *range(40, len(whole), 97)):
        (tmp_path / "cut.glb").write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_parts(tmp_path / "cut.glb")


def test_colours_of_an_obj(tmp_path):
    """Vertex colours, display values, take the place of Kd; with a texture, they multiply it."""
    pytest.importorskip("trimesh")
    corners = "v 0 0 0 1 0 0\nv 1 0 0 0 0.5 0\nv 0 1 0 0 0 1\n"
    own = [[1, 0, 0], [0, 0.5, 0], [0, 0, 1]]
    (tmp_path / "m.mtl").write_text("newmtl plain\nKd 0.1 0.1 0.1\nnewmtl painted\nKd 0 0 0\nmap_Kd t.png\n")
    Image.fromarray(np.full((2, 2, 3), 51, np.uint8)).save(tmp_path / "t.png")
    coordinates = "vt 0 0\nvt 1 0\nvt 0 1\n"
    for text, expected in (
        (f"{corners}f 1 2 3\n", own),
        (f"{corners}{coordinates}f 1/1 2/2 3/3\n", own),
        (f"mtllib m.mtl\n{corners}usemtl plain\nf 1 2 3\n", own),
        (f"mtllib m.mtl\n{corners}{coordinates}usemtl plain\nf 1/1 2/2 3/3\n", own),
        (f"mtllib m.mtl\n{corners}{coordinates}usemtl painted\nf 1/1 2/2 3/3\n", np.asarray(own) * 0.2),
        (f"mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\n{coordinates}usemtl plain\nf 1/1 2/2 3/3\n", [[0.1] * 3] * 3),
    ):
        (tmp_path / "a.obj").write_text(text)
        np.testing.assert_allclose(read_mesh(tmp_path / "a.obj").colors, expected, atol=3e-3)  # some become bytes
        (part,) = load_mesh(tmp_path / "a.obj")
        shown = part.colors[0, :, :3] * (1 if part.texture is None else 51 / 255)
        np.testing.assert_allclose(shown, expected, atol=3e-3)


def test_pictures_of_an_obj_that_must_not_be_opened(tmp_path):
    pytest.importorskip("trimesh")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl a\nf 1/1 2/2 3/3\n"
    )
    (tmp_path / "a.mtl").write_text("newmtl a\nKd 0.2 0.4 0.6\nmap_Kd t.png\n")
    np.testing.assert_allclose(read_mesh(tmp_path / "a.obj").colors[0], [0.2, 0.4, 0.6], atol=2e-3)  # it is not there
    for content in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"nothing", b""):
        (tmp_path / "t.png").write_bytes(content)
        for read in (read_mesh, load_mesh):
            with pytest.raises(DataError, match="t.png"):
                read(tmp_path / "a.obj")
