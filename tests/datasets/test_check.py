"""The checker against rendered truth: right poses pass, every usual mistake with poses fails."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from diffgs_jax.check import main
from diffgs_jax.data import Record, encode_record
from diffgs_jax.data.maps import encode_depth
from diffgs_jax.data.store import write_store
from diffgs_jax.datasets.check import check_poses
from diffgs_jax.datasets.consistency import agreement
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras, intrinsics_from_fov, look_at

FLIP = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
MISTAKES = {
    "OpenGL taken for OpenCV": lambda poses: poses @ FLIP,
    "world-to-camera taken for camera-to-world": np.linalg.inv,
    "views in another order": lambda poses: poses[::-1],
    "y up taken for z up in positions only": lambda poses: _with_positions(poses, poses[:, [0, 2, 1], 3]),
    "positions at another scale": lambda poses: _with_positions(poses, 1.4 * poses[:, :3, 3]),
}


def _with_positions(poses, positions):
    poses = poses.copy()
    poses[:, :3, 3] = positions
    return poses


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def horse(tools):
    """A real object with depth, rendered once."""
    views = tools.render_horse(np.arange(8) * 45.0, np.tile([20.0, 50.0], 4), size=80)
    images = [png(picture) for picture in views.pictures]
    return Record("horse", "object", images, views.cameras, maps={"depth": encode_depth(views.depth)})


@pytest.fixture(scope="module")
def room():
    """A walk past three textured walls: every pixel's ray is met with the nearest plane."""
    random = np.random.default_rng(0)
    texture = sum(gaussian_filter(random.normal(size=(512, 512)), s, mode="wrap") * s for s in (1, 2, 5))
    texture = np.clip(128 + 60 * texture / texture.std(), 0, 255)
    views, size = 6, 192
    eyes = np.stack([np.linspace(-0.6, 0.6, views), np.linspace(0, 0.3, views), np.zeros(views)], axis=-1)
    pose = look_at(eyes, eyes + [0.2, 3.0, 0.1])
    intrinsics = np.tile(intrinsics_from_fov(60.0), (views, 1))
    planes = [(np.asarray([0, -1.0, 0]), 3.0), (np.asarray([0.8, -0.6, 0]), 2.2), (np.asarray([0, 0, 1.0]), 0.9)]
    centers = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid((centers - 0.5) / intrinsics[0, 0], (centers - 0.5) / intrinsics[0, 1])
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    images, depths = [], []
    for one in pose.astype(float):
        directions = rays @ one[:3, :3].T
        depth, color = np.full((size, size), np.inf), np.zeros((size, size))
        for number, (normal, distance) in enumerate(planes):
            # normal · p + distance = 0 is the wall.
            with np.errstate(divide="ignore"):
                t = -(normal @ one[:3, 3] + distance) / (directions @ normal)
            nearer = (t > 0) & (t < depth)
            points = one[:3, 3] + np.where(nearer, t, 0)[..., None] * directions
            axes = [axis for axis in range(3) if axis != int(np.argmax(np.abs(normal)))]
            u, v = ((points[..., axis] * 90 + 150 * number).astype(int) % 512 for axis in axes)
            depth, color = np.where(nearer, t, depth), np.where(nearer, texture[u, v], color)
        images.append(png(np.repeat(color.astype(np.uint8)[..., None], 3, axis=-1)))
        depths.append(depth)
    cameras = Cameras(pose, intrinsics)
    return Record("room", "scene", images, cameras, maps={"depth": encode_depth(np.stack(depths))})


def moved(record, mistake):
    poses = np.asarray(mistake(record.cameras.camera_to_world), np.float32)
    return record._replace(cameras=record.cameras._replace(camera_to_world=poses))


def without_depth(record):
    return record._replace(maps={})


def test_right_poses_make_sense(horse, room):
    pytest.importorskip("cv2")
    assert agreement(horse).score > 0.99
    assert agreement(without_depth(horse)).score > 0.97
    assert agreement(room).score > 0.99
    assert agreement(without_depth(room)).score > 0.8
    for record in (horse, room, without_depth(horse), without_depth(room)):
        assert agreement(record).makes_sense


# Neither silhouettes nor epipolar lines can tell the scale.
CASES = [(name, with_depth) for name in MISTAKES for with_depth in (True, False) if with_depth or "scale" not in name]


@pytest.mark.parametrize(("mistake", "with_depth"), CASES)
def test_wrong_poses_of_an_object_do_not(horse, mistake, with_depth):
    record = moved(horse if with_depth else without_depth(horse), MISTAKES[mistake])
    assert not agreement(record).makes_sense


@pytest.mark.parametrize(("mistake", "with_depth"), CASES)
def test_wrong_poses_of_a_scene_do_not(room, mistake, with_depth):
    pytest.importorskip("cv2")
    record = moved(room if with_depth else without_depth(room), MISTAKES[mistake])
    assert not agreement(record).makes_sense


def run(capsys, *words):
    try:
        main(list(words))
        code = 0
    except SystemExit as stop:
        code = stop.code
    (line,) = capsys.readouterr().out.splitlines()
    assert code in (0, 1)
    return code == 0, line


def test_the_command_line_says_it_in_one_line(horse, tmp_path, capsys):
    wrong = moved(horse, MISTAKES["OpenGL taken for OpenCV"])._replace(uid="pony")
    left_handed = moved(horse, lambda poses: poses * np.asarray([[-1], [1], [1], [1]]))._replace(uid="mule")
    for name, records in (("good", [horse]), ("wrong", [horse, wrong]), ("bad", [left_handed, horse])):
        items = [(record.uid, lambda record=record: encode_record(record)) for record in records]
        write_store(tmp_path / name, {"train": items, "test": []}, {"name": name})
    verdict, line = run(capsys, str(tmp_path / "good"))
    assert verdict and "the poses make sense: at least 99" in line and "(1 records)" in line
    verdict, line = run(capsys, str(tmp_path / "wrong"))
    assert not verdict and "1 of 2 records make no sense" in line and "pony" in line
    verdict, line = run(capsys, str(tmp_path / "bad"))
    assert not verdict and "1 of 2 records are bad" in line and "mule" in line and "left-handed" in line


def test_published_folders_are_recognised(horse, tmp_path, capsys):
    frames = []
    for view, (encoded, pose) in enumerate(zip(horse.images, horse.cameras.camera_to_world, strict=True)):
        (tmp_path / f"{view}.png").write_bytes(encoded)
        frames.append({"file_path": f"{view}.png", "transform_matrix": (pose @ FLIP).tolist()})
    content = {"camera_angle_x": float(np.radians(50.0)), "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    verdict, line = run(capsys, str(tmp_path))
    assert verdict and "silhouette" in line
    for frame in frames:  # the usual mistake: poses written with OpenCV axes
        frame["transform_matrix"] = (np.asarray(frame["transform_matrix"]) @ FLIP).tolist()
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    verdict, line = run(capsys, str(tmp_path))
    assert not verdict


def test_nothing_to_check_is_bad_usage(tmp_path, capsys):
    for path, message in ((tmp_path / "nowhere", "there is no"), (tmp_path, "neither a record store nor")):
        with pytest.raises(UserError, match=message):
            check_poses(path)
        with pytest.raises(SystemExit) as stop:
            main([str(path)])
        assert stop.value.code == 2 and message in capsys.readouterr().err


def test_views_without_anything_in_common(room):
    pytest.importorskip("cv2")
    blank = [png(np.full((64, 64, 3), 200, np.uint8))] * len(room.images)
    with pytest.raises(DataError, match="only 0 features match"):
        agreement(without_depth(room._replace(images=blank)))
    with pytest.raises(DataError, match="one view only"):
        agreement(Record("one", "scene", room.images[:1], Cameras(*(array[:1] for array in room.cameras))))
