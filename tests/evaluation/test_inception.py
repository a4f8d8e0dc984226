import numpy as np
import pytest
from PIL import Image

from diffgs_jax import evaluation
from diffgs_jax.errors import DataError, UserError

pytest.importorskip("onnxruntime")


def field(number, content):
    """A field of a protocol buffer: text and messages with their length, integers as varints."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def value_info(name, shape):
    dimensions = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dimensions)))


def network(path, features=2048, size=8, channels=3):
    """An ONNX file, written by hand: the mean colour of the picture, repeated until there are enough numbers."""
    repeats = np.asarray([1, -(-features // channels), 1, 1], "<i8")
    tensor = field(1, 4) + field(2, 7) + field(8, "repeats") + field(9, repeats.tobytes())
    starts, ends, axes = (np.asarray([v], "<i8") for v in (0, features, 1))
    tensors = field(5, tensor)
    for name, array in (("starts", starts), ("ends", ends), ("axes", axes)):
        tensors += field(5, field(1, 1) + field(2, 7) + field(8, name) + field(9, array.tobytes()))

    def node(kind, inputs, output):
        return field(1, b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind))

    graph = node("GlobalAveragePool", ["images"], "mean") + node("Tile", ["mean", "repeats"], "tiled")
    graph += node("Slice", ["tiled", "starts", "ends", "axes"], "features") + field(2, "network") + tensors
    graph += field(11, value_info("images", ["n", channels, size, size]))
    graph += field(12, value_info("features", ["n", features, 1, 1]))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 13)))
    return str(path)


def test_features_are_those_of_resized_pictures(tmp_path):
    images = np.random.default_rng(0).uniform(-0.1, 1.1, size=(5, 20, 20, 3)).astype(np.float32)
    found = evaluation.inception_features(network(tmp_path / "inception.onnx"), images)
    assert found.shape == (5, 2048)
    for picture, features in zip((np.clip(images, 0, 1) * 255).round().astype(np.uint8), found, strict=True):
        resized = np.asarray(Image.fromarray(picture).resize((8, 8), Image.Resampling.BILINEAR)) / 255
        np.testing.assert_allclose(features[:3], resized.mean(axis=(0, 1)), atol=1e-5)
        np.testing.assert_array_equal(features[3:6], features[:3])


def test_distances_have_the_published_names_with_inception_alone():
    truth = {"inception": np.random.default_rng(0).normal(size=(6, 16)), "vgg16": np.zeros((6, 8))}
    assert set(evaluation.set_distances({"inception": truth["inception"]}, truth)) == {"fid", "kid"}
    assert set(evaluation.set_distances({"vgg16": truth["vgg16"]}, truth)) == {"fd_vgg16", "kd_vgg16"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"features": 1000}, "2048 features a picture"), ({"channels": 1}, r"must take float pictures \[n, 3")],
)
def test_other_networks_are_refused(tmp_path, settings, message):
    with pytest.raises(DataError, match=message):
        evaluation.load_inception(network(tmp_path / "other.onnx", **settings))


def test_what_is_no_network_is_refused(tmp_path):
    (tmp_path / "weights.onnx").write_bytes(b"not a network")
    with pytest.raises(DataError, match="not a network in the ONNX format"):
        evaluation.load_inception(str(tmp_path / "weights.onnx"))
    with pytest.raises(UserError, match="there is no file"):
        evaluation.load_inception(str(tmp_path / "missing.onnx"))
