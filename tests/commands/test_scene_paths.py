"""A room's picture and a camera path in; splat and film out."""

import dataclasses
import json

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image
from tiny import TINY, failure, weights

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import to_dict
from diffgs_jax.data import load_views, open_store
from diffgs_jax.data.maps import decode_depth
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.inference import load, sample_scene, scene_path
from diffgs_jax.inference.scene_paths import first_beyond, refuse_walls
from diffgs_jax.inference.scenes import first_blocked, middle_square
from diffgs_jax.models.diffusion_gs import DistanceLaw, GaussianConfig, NetworkConfig
from diffgs_jax.rasterizer import RenderSettings
from diffgs_jax.sample import main

CONFIG = dataclasses.replace(
    TINY,
    model=dataclasses.replace(
        TINY.model,
        network=NetworkConfig(width=32, layers=1, heads=2, patch_size=8, stride=4, domains=("scene",)),
        gaussians=GaussianConfig(scene_distance=DistanceLaw(kind="near_far", near=0.0, far=8.0)),
    ),
)
LENGTH = 6


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms") / "checkpoints"
    save_weights(folder, 7, weights(CONFIG), {"config": to_dict(CONFIG), "counters": {}})
    return folder


@pytest.fixture(scope="module")
def room(request, tmp_path_factory):
    """A folder with the first frame of a room of the repository, its depth, and the way of its camera."""
    record = open_store(request.config.rootpath / "assets" / "rooms_cc0", "test")[0]
    folder = tmp_path_factory.mktemp("room")
    images, _, cameras = load_views(record, 64, 1.0)
    Image.fromarray(np.round(images[0] * 255).astype(np.uint8)).save(folder / "room.png")
    depth = decode_depth(record.maps["depth"], [0])[0]
    Image.fromarray(np.nan_to_num(depth * 1000).astype(np.uint16)).save(folder / "depth.png")
    poses = np.asarray(cameras.camera_to_world, np.float64)[:LENGTH] @ np.diag([1.0, -1.0, -1.0, 1.0])
    focal = float(np.asarray(cameras.intrinsics)[0, 0])
    write_path(folder / "path.json", poses, 2 * np.arctan(0.5 / focal))
    ahead = np.tile(poses[0], (LENGTH, 1, 1))
    ahead[:, :3, 3] -= poses[0, :3, 2] * np.linspace(0, 30, LENGTH)[:, None]  # OpenGL cameras look along −z
    write_path(folder / "through.json", ahead, 2 * np.arctan(0.5 / focal), depth="depth.png")
    return folder


def write_path(file, poses, angle, depth=None):
    frames = [{"transform_matrix": pose.tolist()} for pose in poses]
    if depth is not None:
        frames[0]["depth_file_path"] = depth
    file.write_text(json.dumps({"camera_angle_x": float(angle), "frames": frames}))


@pytest.mark.slow
def test_a_room_becomes_a_splat_and_a_film(rooms, room, tmp_path):
    words = ["--checkpoint", str(rooms), "--image", str(room / "room.png"), "--path", str(room / "path.json")]
    main([*words, "--out", str(tmp_path / "out"), "--steps", "1", "--turntable-size", "32", "--film", "gif"])
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"gaussians.ply", "views.png", "path.gif", "sample.json"}
    assert imageio.imread(tmp_path / "out" / "path.gif").shape == (LENGTH, 32, 32, 3)
    told = json.loads((tmp_path / "out" / "sample.json").read_text())
    assert str(room / "path.json") in told["inputs"]


@pytest.mark.slow
def test_the_scene_frame_is_that_of_training(rooms, room):
    pipeline = load(rooms)
    result = sample_scene(pipeline, room / "room.png", scene_path(room / "path.json", 2), steps(1))
    assert result.views.images.shape == (1, 4, 32, 32, 3) and result.views.is_condition.tolist() == [
        [True] + [False] * 3
    ]
    np.testing.assert_allclose(result.path.camera_to_world[0], np.eye(4), atol=1e-5)
    inputs = result.views.cameras.camera_to_world[0, :, :3, 3]
    assert np.abs(inputs).max() == pytest.approx(pipeline.config.data.scene_extent, abs=1e-5)
    np.testing.assert_array_equal(result.views.images[0, 0], middle_square(room / "room.png", 32))
    np.testing.assert_allclose(result.views.cameras.camera_to_world[0, -1], result.path.camera_to_world[-1], atol=1e-5)


def steps(count):
    from diffgs_jax.inference import SamplingOptions

    return SamplingOptions(steps=count)


def test_a_path_through_a_wall_is_refused(room):
    path = scene_path(room / "through.json", 2)
    with pytest.raises(DataError, match="through.json leads through a wall: at frame"):
        refuse_walls(path, "through.json")
    refuse_walls(scene_path(room / "path.json", 2), "path.json")


def test_what_lies_behind_a_surface_is_found():
    depth = np.full((10, 10), 2.0, np.float32)
    depth[:, 5:] = np.nan
    lens = np.array([1.0, 1.0, 0.5, 0.5])
    ahead = np.array([[-0.1, 0, 1.0], [-0.1, 0, 1.9], [-0.1, 0, 2.1]])
    assert first_beyond(ahead, depth, lens) == 2
    assert first_beyond(ahead * [-1, 1, 1], depth, lens) is None  # nothing is known there
    assert first_beyond(ahead * [1, 1, -1], depth, lens) is None  # backwards
    assert first_beyond(ahead * [30, 1, 1], depth, lens) is None  # beside the picture


@pytest.mark.slow
def test_a_path_through_what_the_splat_shows_is_noticed():
    wall = Gaussians(
        means=np.array([[0.0, 0.0, 2.0]], np.float32),
        rotations=np.array([[1.0, 0, 0, 0]], np.float32),
        scales=np.array([[5.0, 5.0, 0.01]], np.float32),
        opacities=np.array([0.99], np.float32),
        sh=np.zeros((1, 1, 3), np.float32),
    )
    poses = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    poses[:, 2, 3] = [0.0, 1.0, 1.5, 3.0]
    cameras = Cameras(poses, np.tile(np.array([1.0, 1.0, 0.5, 0.5], np.float32), (4, 1)))
    assert first_blocked(wall, cameras, 16, RenderSettings()) == 3
    assert first_blocked(wall, Cameras(*(leaf[:3] for leaf in cameras)), 16, RenderSettings()) is None


def test_paths_by_name_and_paths_that_are_none(tmp_path):
    forward, sideways = scene_path("forward", 5), scene_path("sideways", 5, 90.0)
    np.testing.assert_allclose(forward.cameras.camera_to_world[:, :3, 3], np.arange(5)[:, None] * [0, 0, 0.25])
    np.testing.assert_allclose(sideways.cameras.camera_to_world[:, 0, 3], np.arange(5) * 0.25)
    np.testing.assert_allclose(sideways.cameras.intrinsics[0], 0.5)
    for words, error, message in (
        (("backward", 5), UserError, "give a JSON file, or one of forward, sideways"),
        (("forward", 1), UserError, "2 frames or more"),
        (("forward", 5, 170.0), UserError, "--fov must be from 5 to 150"),
    ):
        with pytest.raises(error, match=message):
            scene_path(*words)
    for content in ({}, {"camera_angle_x": 1.0, "frames": [{"transform_matrix": np.eye(4).tolist()}]}):
        (tmp_path / "bad.json").write_text(json.dumps(content))
        with pytest.raises(DataError, match="bad.json is no camera path"):
            scene_path(tmp_path / "bad.json", 5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "say where its camera goes, beside the picture, with --path"),
        (("--path", "forward", "--formats", "glb"), "no meshes"),
        (("--fov", "60"), "--fov goes with --path"),
    ],
)
def test_what_goes_with_scenes_and_what_does_not(rooms, room, tmp_path, capsys, more, message):
    words = ["--checkpoint", str(rooms), "--image", str(room / "room.png"), "--out", str(tmp_path / "out"), *more]
    code, error = failure(words, capsys)
    assert code == 2 and message in error and not (tmp_path / "out").exists()


def test_models_of_objects_have_no_paths(loaded, picture, tmp_path, capsys):
    words = ["--image", str(picture), "--path", "forward", "--out", str(tmp_path / "out")]
    code, error = failure(words, capsys)
    assert code == 2 and "knows objects only: leave --path out" in error
