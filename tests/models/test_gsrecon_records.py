"""Cameras, normals and coordinates of a G-Objaverse record as the published loader makes them (tests/golden)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import OBJECT, Cameras, Views
from diffgs_jax.models.gsrecon import PUBLISHED_FRAME, GSReconConfig
from diffgs_jax.models.gsrecon.frame import model_cameras, to_model_frame
from diffgs_jax.models.gsrecon.inputs import encoded_map

TO_Z_UP = np.asarray([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # theirs (x right, y up, z to the viewer) to ours
DEPTH_RANGE = 5.0


@pytest.fixture(scope="module")
def golden(request):
    return np.load(request.config.rootpath / "tests" / "golden" / "diffsplat_dataset.npz")


@pytest.fixture(scope="module")
def views(golden):
    """The record's chosen views in our world, with the coverage of each."""
    known = golden["raw/view_id"].tolist()
    chosen = [known.index(view) for view in golden["out/view_id"]]
    stored = np.stack([golden[f"raw/{name}"][chosen] for name in ("x", "y", "z", "origin")], axis=-1)
    poses = np.tile(np.eye(4), (len(chosen), 1, 1))
    # Stored: z up with x to the left; rows change places and one its sign, and the camera's axes are OpenGL's.
    poses[:, :3] = TO_Z_UP @ (stored[:, [0, 2, 1]] * np.asarray([1.0, 1.0, -1.0])[:, None])
    gbuffer = golden["raw/nd"][chosen].astype(np.float32) / 65535
    normals = (gbuffer[..., :3] * 2 - 1) * np.float32([-1, 1, 1])
    cameras = Cameras(poses[None].astype(np.float32), golden["out/fxfycxcy"][None])
    images = golden["raw/rgba"][chosen][None].astype(np.float32) / 255
    found = Views(
        images[..., :3],
        cameras,
        np.ones((1, len(chosen)), bool),
        np.full(1, OBJECT, np.int32),
        images[..., 3],
        depths=gbuffer[None, ..., 3] * np.float32(DEPTH_RANGE),
        normals=(normals @ TO_Z_UP.T.astype(np.float32))[None],
    )
    similarity = to_model_frame(PUBLISHED_FRAME, cameras)
    return found, model_cameras(PUBLISHED_FRAME, similarity, cameras), similarity


def test_cameras_of_a_record(golden, views):
    np.testing.assert_allclose(views[1].camera_to_world[0], golden["out/C2W"], atol=1e-5)


@pytest.mark.parametrize(("ours", "theirs"), [("normals", "normal"), ("coordinates", "coord")])
def test_maps_of_a_record(golden, views, ours, theirs):
    found, cameras, similarity = views
    cover = found.alphas[0][..., None]
    encoded = encoded_map(GSReconConfig(frame=PUBLISHED_FRAME), ours, found, cameras, similarity)[0]
    side = golden[f"out/{theirs}"].shape[-1]
    size = (len(cover), side, side)
    smaller = jax.image.resize(encoded * cover + (1 - cover), (*size, 3), "linear", antialias=True)
    mask = jax.image.resize(jnp.asarray(cover), (*size, 1), "linear", antialias=True)
    expected = np.moveaxis(golden[f"out/{theirs}"], 1, -1)
    np.testing.assert_allclose(smaller * mask + (1 - mask), expected, atol=1e-4)
