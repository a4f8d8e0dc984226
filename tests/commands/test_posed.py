"""Several posed pictures of one object: rendered views with known cameras, written as other tools write them."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny import TINY, command

from diffgs_jax.data import load_views, open_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import turn_to_azimuth_zero
from diffgs_jax.inference.conditions import read_posed_images
from diffgs_jax.sample import main

VIEWS = [0, 4, 8, 12, 2, 6]


@pytest.fixture(scope="module")
def views(request):
    store = open_store(request.config.rootpath / "assets" / "furniture_cc0", split="test")
    images, alphas, cameras = load_views(store[0], 64)
    return (
        images[VIEWS],
        alphas[VIEWS],
        cameras._replace(camera_to_world=cameras.camera_to_world[VIEWS], intrinsics=cameras.intrinsics[VIEWS]),
    )


def write(folder, views, *, scale=1.0, shift=0.0, transparent=True, **more):
    """Writes a transforms.json as a Blender script would: OpenGL axes, the field of view."""
    folder.mkdir()
    images, alphas, cameras = views
    frames = []
    for number, (image, alpha, pose) in enumerate(zip(images, alphas, cameras.camera_to_world, strict=True)):
        cover = alpha[..., None]
        colour = np.clip((image - (1 - cover)) / np.maximum(cover, 1e-6), 0, 1)
        pixels = np.concatenate([colour, cover], axis=-1) if transparent else image
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(folder / f"view_{number}.png")
        matrix = np.array(pose, np.float64) @ np.diag([1.0, -1.0, -1.0, 1.0])
        matrix[:3, 3] = matrix[:3, 3] * scale + shift
        frames.append({"file_path": f"./view_{number}", "transform_matrix": matrix.tolist()})
    angle = 2 * float(np.arctan(0.5 / cameras.intrinsics[0, 0]))
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames, **more}))
    return folder / "transforms.json"


def expected_poses(views):
    poses = np.asarray(views[2].camera_to_world)
    return turn_to_azimuth_zero(poses, poses[0])


def test_poses_in_the_object_frame_stay(views, tmp_path):
    images, cameras, *_ = read_posed_images(write(tmp_path / "a", views, object_frame=True), TINY)
    assert images.shape == (6, 32, 32, 3)
    np.testing.assert_allclose(cameras.camera_to_world, expected_poses(views), atol=1e-5)
    np.testing.assert_allclose(cameras.intrinsics, views[2].intrinsics, atol=1e-5)
    np.testing.assert_allclose(images, views[0].reshape(6, 32, 2, 32, 2, 3).mean((2, 4)), atol=0.1)  # WebP, on the way
    assert abs(cameras.camera_to_world[0, 1, 3]) < 1e-6  # the first has azimuth 0


@pytest.mark.parametrize("transparent", [True, False])
def test_other_worlds_are_brought_into_the_object_frame(views, tmp_path, transparent):
    """Its silhouettes tell where an object is and how large: their hull is larger than it, the less the more views."""
    path = write(tmp_path / "a", views, scale=3.0, shift=5.0, transparent=transparent)
    _, cameras, *_ = read_posed_images(path, TINY)
    found, expected = cameras.camera_to_world, expected_poses(views)
    np.testing.assert_allclose(found[:, :3, :3], expected[:, :3, :3], atol=0.03)
    nearer = np.linalg.norm(found[:, :3, 3], axis=-1) / np.linalg.norm(expected[:, :3, 3], axis=-1)
    assert 0.75 < nearer.min() and nearer.max() < 1.02


@pytest.mark.slow
def test_the_model_is_shown_all_of_them(views, checkpoint, loaded, tmp_path):
    path = write(tmp_path / "a", views, object_frame=True)
    result = loaded(path, steps=1)
    np.testing.assert_array_equal(result.views.is_condition, [[True] * 6 + [False] * 3])
    np.testing.assert_array_equal(result.views.images[0, :6], read_posed_images(path, TINY).images)
    assert len(result.gaussians.opacities) == 9 * 64 + 2
    main(command(checkpoint, path, tmp_path / "out", "--frames", "0"))
    record = json.loads((tmp_path / "out" / "sample.json").read_text())
    assert len(record["inputs"]) == 1 + 6


def test_unusable_poses(views, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_posed_images(tmp_path / "none.json", TINY)
    path = write(tmp_path / "near", views, scale=0.2, object_frame=True)
    with pytest.raises(DataError, match="inside the object's bounding sphere"):
        read_posed_images(path, TINY)
    (path.parent / "view_2.png").unlink()
    with pytest.raises(DataError, match=r"view_2.* is missing"):
        read_posed_images(path, TINY)
    path.write_text("[]")
    with pytest.raises(DataError, match="lists no frames"):
        read_posed_images(path, TINY)
