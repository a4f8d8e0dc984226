"""Networks for backgrounds that are not plain, with a network so simple that its answer is known: red less green."""

import base64
import sys
import types

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.interop import _matting_networks, isolate_object, load_framed

# A 1×1 convolution of weights (1, −1, 0), from [1, 3, 64, 64] to [1, 1, 64, 64], written by the onnx package.
RED_LESS_GREEN = base64.b64decode(
    "CAg6awoPCgF4CgF3EgF5IgRDb252EgFnKhsIAQgDCAEIARABQgF3SgwAAIA/AACAvwAAAABaGwoBeBIWChQIARIQCgIIAQoCCAMKAghACgIIQGIbCgF5"
    "EhYKFAgBEhAKAggBCgIIAQoCCEAKAghAQgQKABAN"
)


@pytest.fixture
def network(tmp_path):
    (tmp_path / "network.onnx").write_bytes(RED_LESS_GREEN)
    return tmp_path / "network.onnx"


def photograph():
    """A red disc of radius 30 in front of grey noise, and the disc's cover."""
    rows, columns = np.mgrid[:96, :128]
    disc = (rows - 50) ** 2 + (columns - 70) ** 2 < 30**2
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 1)).repeat(3, axis=-1)
    pixels = np.where(disc[..., None], [230, 20, 10], noise)
    return np.concatenate([pixels, np.full((96, 128, 1), 255)], axis=-1).astype(np.uint8), disc


@pytest.mark.parametrize("matting", ["isnet", "auto"])
def test_an_isnet_file_finds_the_object(network, matting):
    pytest.importorskip("onnxruntime")
    pixels, disc = photograph()
    found = isolate_object(pixels, matting=matting, matting_model=network)
    assert np.abs(found[..., 3] - disc).mean() < 0.02
    inside = found[..., 3] > 0.9
    colours = found[inside][:, :3] / found[inside][:, 3:]
    np.testing.assert_allclose(colours, np.broadcast_to(np.asarray([230, 20, 10]) / 255, colours.shape), rtol=1e-5)
    picture = load_framed(pixels, resolution=64, matting=matting, matting_model=network)
    assert np.ptp(np.flatnonzero(picture.alpha.max(axis=0) > 0.5)) + 1 == pytest.approx(
        0.72 * 64, abs=3
    )  # its edge is soft


def test_auto_asks_a_network_only_where_nothing_else_helps(tmp_path):
    """A plain background and an alpha need no network: a file that is none does not disturb."""
    pixels, disc = photograph()
    plain = np.where(disc[..., None], pixels, 255).astype(np.uint8)
    found = isolate_object(plain, matting_model=tmp_path / "none.onnx")
    assert np.abs(found[..., 3] - disc).mean() < 0.01


def test_rembg_is_asked_for_a_mask_of_a_free_network(monkeypatch):
    pixels, disc = photograph()
    asked = {}

    def remove(image, *, session, only_mask):
        asked.update(session=session, only_mask=only_mask, size=image.size)
        return Image.fromarray((disc * 255).astype(np.uint8))

    fake = types.SimpleNamespace(new_session=lambda name: f"session of {name}", remove=remove)
    monkeypatch.setitem(sys.modules, "rembg", fake)
    _matting_networks.load_rembg.cache_clear()
    found = isolate_object(pixels, matting="rembg")
    np.testing.assert_array_equal(found[..., 3] > 0.5, disc)
    assert asked == {"session": "session of isnet-general-use", "only_mask": True, "size": (128, 96)}


def test_keep_and_alpha():
    pixels, disc = photograph()
    np.testing.assert_array_equal(isolate_object(pixels, matting="keep")[..., 3], 1)
    with pytest.raises(DataError, match="no transparent part"):
        isolate_object(pixels, matting="alpha")
    pixels[..., 3] = disc * 255
    np.testing.assert_array_equal(isolate_object(pixels, matting="alpha")[..., 3] > 0.5, disc)


def test_what_is_missing_is_one_line(network, tmp_path, monkeypatch):
    pixels, _ = photograph()
    with pytest.raises(UserError, match="needs --matting-model"):
        isolate_object(pixels, matting="isnet")
    monkeypatch.setitem(sys.modules, "rembg", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    _matting_networks.load_rembg.cache_clear()
    _matting_networks.load_isnet.cache_clear()
    with pytest.raises(UserError, match=r"diffgs_jax\[rembg\]"):
        isolate_object(pixels, matting="rembg")
    with pytest.raises(UserError, match=r"diffgs_jax\[matting\]"):
        isolate_object(pixels, matting_model=network)


def test_files_that_are_no_network(network, tmp_path):
    pytest.importorskip("onnxruntime")
    pixels, disc = photograph()
    with pytest.raises(UserError, match="there is no matting model"):
        isolate_object(pixels, matting_model=tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(UserError, match="is not an ONNX network"):
        isolate_object(pixels, matting_model=tmp_path / "text.onnx")
    blue = np.zeros_like(pixels)
    blue[..., 3] = 255
    blue[..., 2] = np.random.default_rng(0).integers(0, 255, blue.shape[:2])
    with pytest.raises(DataError, match="shows no object that"):
        isolate_object(blue, matting="isnet", matting_model=network)
