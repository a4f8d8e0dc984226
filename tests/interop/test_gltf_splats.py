"""Gaussians in glTF, held against a file that is put together by hand, and taken apart by hand."""

import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians, spherical_harmonics, turn_gaussians
from diffgs_jax.interop import holds_gltf_splats, read_gaussians, write_gaussians

NAME = "KHR_gaussian_splatting"


def two_gaussians():
    return Gaussians(
        means=np.asarray([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], np.float32),
        rotations=np.asarray([[0.8, 0.0, 0.6, 0.0], [2.0, 0.0, 0.0, 0.0]], np.float32),
        scales=np.asarray([[0.1, 0.2, 0.3], [1.5, 2.0, 0.01]], np.float32),
        opacities=np.asarray([0.25, 1.0], np.float32),
        sh=np.asarray([[[0.0, 1.0, -1.0]], [[0.5, 0.5, 0.5]]], np.float32),
    )


def by_hand(*, told=None, node=None, mode=0, colors=True, required=(), **changed):
    """A GLB of one Gaussian, in the file's axes at (1, 2, 3)."""
    arrays = {
        "POSITION": [[1, 2, 3]],
        f"{NAME}:ROTATION": [[0, 0, 0, 1]],
        f"{NAME}:SCALE": [[0.1, 0.2, 0.3]],
        f"{NAME}:OPACITY": [[0.25]],
        f"{NAME}:SH_DEGREE_0_COEF_0": [[0.0, 1.0, -1.0]],
    }
    arrays = {name: np.asarray(values, "<f4") for name, values in (arrays | changed).items() if values is not None}
    edges = np.cumsum([0, *(array.nbytes for array in arrays.values())]).tolist()
    kinds = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
    tree = {
        "asset": {"version": "2.0"},
        "extensionsUsed": [NAME],
        "extensionsRequired": list(required),
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0} | (node or {})],
        "meshes": [
            {
                "primitives": [
                    {
                        "mode": mode,
                        "attributes": {name: index for index, name in enumerate(arrays)},
                        "extensions": {NAME: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"} | (told or {})},
                    }
                ]
            }
        ],
        "accessors": [
            {"bufferView": index, "componentType": 5126, "count": len(array), "type": kinds[array.shape[1]]}
            for index, array in enumerate(arrays.values())
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": array.nbytes}
            for start, array in zip(edges, arrays.values(), strict=False)
        ],
        "buffers": [{"byteLength": edges[-1]}],
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(array.tobytes() for array in arrays.values())
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def test_written_bytes(tmp_path):
    assert write_gaussians(tmp_path / "a.glb", two_gaussians()) == 2
    content = (tmp_path / "a.glb").read_bytes()
    magic, version, length, text = struct.unpack_from("<4sIII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content)) and not text % 4
    tree, binary = json.loads(content[20 : 20 + text]), content[28 + text :]
    assert tree["extensionsUsed"] == [NAME] and "extensionsRequired" not in tree
    [primitive] = tree["meshes"][0]["primitives"]
    assert primitive["mode"] == 0
    assert primitive["extensions"][NAME] == {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}

    def numbers(name, kind="<f4"):
        accessor = tree["accessors"][primitive["attributes"][name]]
        view = tree["bufferViews"][accessor["bufferView"]]
        return np.frombuffer(binary, kind, view["byteLength"] // np.dtype(kind).itemsize, view["byteOffset"])

    np.testing.assert_array_equal(numbers("POSITION"), [1, 2, 3, -1, 0.5, 0])
    np.testing.assert_allclose(numbers(f"{NAME}:ROTATION"), [0, 0.6, 0, 0.8, 0, 0, 0, 1])
    np.testing.assert_allclose(numbers(f"{NAME}:SCALE"), [0.1, 0.2, 0.3, 1.5, 2.0, 0.01])
    np.testing.assert_array_equal(numbers(f"{NAME}:OPACITY"), [0.25, 1.0])
    np.testing.assert_array_equal(numbers(f"{NAME}:SH_DEGREE_0_COEF_0"), [0, 1, -1, 0.5, 0.5, 0.5])
    # 255 · (0.5 + 0.2821 c) and 255 · opacity
    np.testing.assert_array_equal(numbers("COLOR_0", "u1"), [128, 199, 56, 64, 163, 163, 163, 255])
    assert tree["accessors"][0]["min"] == [-1, 0.5, 0] and tree["accessors"][0]["max"] == [1, 2, 3]
    # The node has z of the object frame up, which is y in glTF, and its x in front, which is z.
    turned = Rotation.from_quat(tree["nodes"][0]["rotation"]).apply([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(turned, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-12)


def test_read_bytes(tmp_path):
    path = tmp_path / "a.glb"
    path.write_bytes(by_hand(required=[NAME]))
    back = read_gaussians(path)
    assert holds_gltf_splats(path)
    np.testing.assert_array_equal(back.means, [[3, 1, 2]])  # the file's z, x and y
    np.testing.assert_allclose(back.scales, [[0.1, 0.2, 0.3]], rtol=1e-6)
    np.testing.assert_array_equal(back.opacities, [0.25])
    np.testing.assert_array_equal(back.sh, [[[0, 1, -1]]])
    turn = np.asarray([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(Rotation.from_quat(back.rotations[0, [1, 2, 3, 0]]).as_matrix(), turn, atol=1e-6)


def test_nodes_move_turn_and_enlarge(tmp_path):
    path = tmp_path / "a.glb"
    quarter = np.sqrt(0.5)
    node = {"rotation": [0, quarter, 0, quarter], "scale": [2, 2, 2], "translation": [10, 0, 0]}
    path.write_bytes(by_hand(node=node))
    back = read_gaussians(path)
    # (1, 2, 3) turned a quarter about y is (3, 2, −1); twice that and moved, (16, 4, −2)
    np.testing.assert_allclose(back.means, [[-2, 16, 4]], atol=1e-5)
    np.testing.assert_allclose(back.scales, [[0.2, 0.4, 0.6]], rtol=1e-5)


def test_logarithms_of_a_draft(tmp_path):
    (tmp_path / "a.glb").write_bytes(by_hand(**{f"{NAME}:SCALE": np.log([[0.1, 0.2, 3.0]])}))
    np.testing.assert_allclose(read_gaussians(tmp_path / "a.glb").scales, [[0.1, 0.2, 3.0]], rtol=1e-5)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_ours_come_back(tmp_path, degree):
    draw = np.random.default_rng(0)
    gaussians = two_gaussians()._replace(sh=draw.normal(size=(2, (degree + 1) ** 2, 3)).astype(np.float32))
    write_gaussians(tmp_path / "a.glb", gaussians)
    back = read_gaussians(tmp_path / "a.glb")
    for name in ("means", "scales", "opacities", "sh"):
        np.testing.assert_allclose(getattr(back, name), getattr(gaussians, name), atol=1e-6, err_msg=name)


def test_what_turned_gaussians_shine():
    """The colour that is seen along a turned direction is that which was seen along it before."""
    draw = np.random.default_rng(0)
    gaussians = two_gaussians()._replace(sh=draw.normal(size=(2, 16, 3)).astype(np.float32))
    rotation = Rotation.random(random_state=0).as_matrix()
    turned = turn_gaussians(gaussians, rotation)
    directions = draw.normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    harmonics = jax.jit(spherical_harmonics, static_argnums=1)
    before = np.asarray(harmonics(jnp.asarray(directions, jnp.float32), 3)) @ gaussians.sh
    after = np.asarray(harmonics(jnp.asarray(directions @ rotation.T, jnp.float32), 3)) @ turned.sh
    np.testing.assert_allclose(after, before, atol=1e-5)
    for old, new in zip(gaussians.rotations, turned.rotations, strict=True):
        old, new = (Rotation.from_quat(quaternion[[1, 2, 3, 0]]).as_matrix() for quaternion in (old, new))
        np.testing.assert_allclose(new, rotation @ old, atol=1e-6)


def test_what_cannot_be_read_is_one_line(tmp_path):
    path = tmp_path / "a.glb"
    broken = {
        "no points": by_hand(mode=4),
        "kernel": by_hand(told={"kernel": "triangle"}),
        "colorSpace": by_hand(told={"colorSpace": "lin_rec709_display"}),
        "EXT_packed": by_hand(told={"extensions": {"EXT_packed": {}}}),
        "OPACITY": by_hand(**{f"{NAME}:OPACITY": None}),
        "different counts": by_hand(**{f"{NAME}:OPACITY": [[0.5], [0.5]]}),
        "stretches": by_hand(node={"scale": [1, 2, 1]}),
        "mirrors": by_hand(node={"scale": [-1, -1, -1]}),
        "not finite": by_hand(POSITION=[[np.nan, 0, 0]]),
        "SH_DEGREE_1_COEF_1": by_hand(**{f"{NAME}:SH_DEGREE_1_COEF_0": [[0, 0, 0]]}),
        "truncated": by_hand()[:-5],
    }
    for reason, content in broken.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason) as error:
            read_gaussians(path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="glb"):
        write_gaussians(tmp_path / "b.gltf", two_gaussians())
    with pytest.raises(DataError, match="no Gaussians"):
        write_gaussians(tmp_path / "c.glb", Gaussians(*(leaf[:0] for leaf in two_gaussians())))
    assert not (tmp_path / "c.glb").exists()
