"""Files of depth, normals and coverage, read by OpenEXR and OpenCV."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Gaussians, ObjectRig, sh_from_color
from diffgs_jax.interop import check_maps, map_settings, png_16, render_orbit, write_maps

KINDS = ("depth", "normals", "mask")


@pytest.fixture(scope="module")
def seen():
    """An opaque ball of radius about 0.5, from distance 3: its nearest point is some 2.5 away."""
    ball = Gaussians(
        means=np.zeros((1, 3), np.float32),
        rotations=np.asarray([[1, 0, 0, 0]], np.float32),
        scales=np.full((1, 3), 0.3, np.float32),
        opacities=np.ones(1, np.float32),
        sh=np.asarray(sh_from_color(jnp.asarray([[1.0, 0.0, 0.0]], jnp.float32))),
    )
    return render_orbit(ball, [0.0, 90.0], size=64, rig=ObjectRig(elevation=0.0, distance=3.0))


def test_exr(tmp_path, seen):
    OpenEXR = pytest.importorskip("OpenEXR")
    write_maps(tmp_path, seen, KINDS)
    assert len(list(tmp_path.iterdir())) == 7

    def channel(name, view, key):
        with OpenEXR.File(str(tmp_path / f"{name}_{view:03d}.exr"), separate_channels=True) as file:
            return np.array(file.channels()[key].pixels)

    depth, mask = channel("depth", 0, "Z"), channel("mask", 0, "A")
    assert depth.dtype == np.float32 and depth[32, 32] == pytest.approx(3.0, abs=1e-3) and depth[0, 0] == 0
    np.testing.assert_allclose(mask, seen.alphas[0], atol=1e-6)
    for view, axis in ((0, "R"), (1, "G")):  # what faces the camera points to it: +x, then +y
        assert channel("normals", view, axis)[32, 32] == pytest.approx(1, abs=0.02)
    told = json.loads((tmp_path / "maps.json").read_text())
    np.testing.assert_allclose(np.asarray(told["camera_to_world"])[:, :3, 3], [[3, 0, 0], [0, 3, 0]], atol=1e-5)


def test_png(tmp_path, seen):
    cv2 = pytest.importorskip("cv2")
    write_maps(tmp_path, seen, KINDS, "png")
    read = {kind: cv2.imread(str(tmp_path / f"{kind}_001.png"), cv2.IMREAD_UNCHANGED) for kind in KINDS}
    assert all(pixels.dtype == np.uint16 for pixels in read.values())
    values = json.loads((tmp_path / "maps.json").read_text())["values"]
    found = {kind: eval(values[kind], {"value": pixels.astype(np.float64)}) for kind, pixels in read.items()}
    assert found["depth"][32, 32] == pytest.approx(3.0, abs=1e-3) and read["depth"][0, 0] == 0
    np.testing.assert_allclose(found["normals"][32, 32, ::-1], [0, 1, 0], atol=0.02)  # OpenCV reads blue first
    np.testing.assert_allclose(found["mask"], seen.alphas[1], atol=1e-4)


def test_png_16_as_others_read_it():
    cv2 = pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).integers(0, 2**16, (5, 7, 3), np.uint16)
    for image in (pixels, pixels[..., 0]):
        read = cv2.imdecode(np.frombuffer(png_16(image), np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read[..., ::-1] if image.ndim == 3 else read, image)


def test_what_cannot_be_written(monkeypatch):
    with pytest.raises(UserError, match="at least one view"):
        check_maps(("depth",), "png", 0)
    monkeypatch.setattr(map_settings.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="OpenEXR"):
        check_maps(("depth",), "exr", 1)
    check_maps((), "exr", 0)
