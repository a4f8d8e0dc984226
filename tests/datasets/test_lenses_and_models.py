"""Lenses against OpenCV, COLMAP's files against pycolmap, and sizes that contradict each other."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data.images import decode_premultiplied
from diffgs_jax.datasets import SourceOptions, read_dl3dv, read_evaluation_index, read_mvimgnet, read_transforms
from diffgs_jax.datasets._colmap import read_colmap
from diffgs_jax.datasets._lenses import colmap_lens, distort
from diffgs_jax.datasets.transforms_json import read_frames
from diffgs_jax.errors import DataError

SIZE = (80, 60)
FOCAL = {"fl_x": 90.0, "fl_y": 80.0, "cx": 41.0, "cy": 28.0, "w": SIZE[0], "h": SIZE[1]}


def capture(folder, fields, *, size=SIZE, count=3, name="p_{}.png", exif=None, pictures=None):
    """Writes a transforms.json with a few cameras around the origin, and pictures of this size."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = []
    for number in range(count):
        angle = 0.5 * number
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = (
            (np.cos(angle), np.sin(angle), 0),
            (0, 0, 1),
            (np.sin(angle), -np.cos(angle), 0),
        )
        matrix[:3, 3] = 3 * matrix[:3, 2]
        path = folder / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", size, (10, 20, 30)) if pictures is None else Image.fromarray(pictures)
        image.save(path, **({} if exif is None else {"exif": exif}))
        frames.append({"file_path": name.format(number), "transform_matrix": matrix.tolist()})
    (folder / "transforms.json").write_text(json.dumps({**FOCAL, **fields, "frames": frames}))
    return folder / "transforms.json"


def in_opencv(fields, points):
    """Where OpenCV says that normalised points are seen."""
    cv2 = pytest.importorskip("cv2")
    matrix = np.asarray([[FOCAL["fl_x"], 0, FOCAL["cx"]], [0, FOCAL["fl_y"], FOCAL["cy"]], [0, 0, 1]])
    solid = np.concatenate([points, np.ones((len(points), 1))], axis=1)[:, None]
    terms = [float(fields.get(name, 0.0)) for name in ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")]
    if fields.get("is_fisheye") or fields.get("camera_model") == "OPENCV_FISHEYE":
        terms = np.asarray([terms[0], terms[1], terms[4], terms[5]])
        return cv2.fisheye.projectPoints(solid, np.zeros(3), np.zeros(3), matrix, terms)[0][:, 0]
    return cv2.projectPoints(solid, np.zeros(3), np.zeros(3), matrix, np.asarray(terms))[0][:, 0]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"camera_model": "PINHOLE", "k1": 0.0, "is_fisheye": False},
        {"k1": -0.2, "k2": 0.05, "p1": 0.01, "p2": -0.02},
        {"k1": -0.2, "k2": 0.05, "k3": 0.11, "p1": 0.01, "p2": -0.02, "camera_model": "OPENCV"},
        {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": -0.02, "k3": 0.01, "k4": -0.003},
        {"is_fisheye": True, "k1": 0.1, "k2": -0.02, "k3": 0.01, "k4": -0.003, "p1": 0},
        {"is_fisheye": True},
        {
            "camera_model": "FULL_OPENCV",
            "k1": 0.3,
            "k2": 0.05,
            "k3": 0.01,
            "k4": 0.2,
            "k5": 0.04,
            "k6": 0.02,
            "p1": 0.01,
        },
    ],
)
def test_lenses_are_opencv_s(tmp_path, fields):
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 2))
    for photograph in read_frames(capture(tmp_path, fields)):
        np.testing.assert_allclose(distort(photograph.lens, points), in_opencv(fields, points), atol=1e-9)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"k4": 0.01}, "k4"),
        ({"camera_model": "OPENCV", "k4": 1e-4, "k5": 1e-5}, "k4, k5"),
        ({"s1": 0.1}, "s1"),
        ({"camera_model": "OPENCV_FISHEYE", "p1": 1e-4}, "p1"),
        ({"is_fisheye": True, "p2": 1e-4}, "p2"),
        ({"camera_model": "OPENCV", "is_fisheye": True}, "is_fisheye"),
        ({"camera_model": "OPENCV_FISHEYE", "is_fisheye": False}, "is_fisheye"),
        ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR"),
        ({"camera_model": ["OPENCV"]}, "OPENCV"),
        ({"ftheta_p0": 0.1}, "ftheta_p0"),
        ({"latlong": True}, "latlong"),
        ({"rolling_shutter": [0, 0, 1, 0]}, "rolling_shutter"),
        ({"white_transparent": True}, "white_transparent"),
        ({"fl_x": 1e400}, "Infinity"),
        ({"k1": float("nan")}, "NaN"),
        ({"w": 0}, "0 pixels"),
        ({"w": 10**9}, "pixels"),
        ({"cx": [1]}, "cx|intrinsics"),
        ({"fl_x": None}, "intrinsics"),
    ],
)
def test_what_a_lens_says_and_is_not_implemented_is_refused_by_name(tmp_path, fields, word):
    with pytest.raises(DataError, match=word):
        read_frames(capture(tmp_path, fields))
    with pytest.raises(DataError) as error:
        next(read_transforms(tmp_path))
    assert "\n" not in str(error.value)


def test_what_is_zero_or_off_is_no_lens_term(tmp_path):
    fields = {"k4": 0.0, "k5": 0, "s1": 0.0, "rolling_shutter": [0, 0, 0, 0], "white_transparent": False, "p1": 0}
    assert len(read_frames(capture(tmp_path, fields))) == 3


def test_fields_of_view_in_degrees_or_of_the_height_alone(tmp_path):
    def lens(fields):
        content = json.loads(capture(tmp_path, {}).read_text())
        for name in ("fl_x", "fl_y"):
            del content[name]
        (tmp_path / "transforms.json").write_text(json.dumps({**content, **fields}))
        return read_frames(tmp_path / "transforms.json")[0].lens

    half = 40 / np.tan(np.radians(25))
    for fields in ({"x_fov": 50}, {"camera_angle_x": np.radians(50)}):
        np.testing.assert_allclose([lens(fields).fx, lens(fields).fy], half)
    for fields in ({"y_fov": 50}, {"camera_angle_y": np.radians(50)}):
        np.testing.assert_allclose([lens(fields).fx, lens(fields).fy], half * 60 / 80)
    with pytest.raises(DataError, match="camera_angle_x"):
        lens({"camera_angle_x": 4.0})
    with pytest.raises(DataError, match="neither"):
        lens({})


def squares(record):
    return [decode_premultiplied(image).shape[:2] for image in record.images]


def test_a_resize_is_right_and_another_shape_is_refused(tmp_path):
    capture(tmp_path / "whole", {})
    capture(tmp_path / "half", {}, size=(40, 30))
    capture(tmp_path / "odd", {}, size=(27, 20))  # 80 / 3 is no whole number
    whole, half, odd = (next(read_transforms(tmp_path / name)) for name in ("whole", "half", "odd"))
    assert squares(whole) == [(60, 60)] * 3 and squares(half) == [(30, 30)] * 3
    # The middle square, whose principal point and focal length are fractions of its side.
    expected = [90 / 60, 80 / 60, (41 - 10) / 60, 28 / 60]
    np.testing.assert_allclose(whole.cameras.intrinsics, np.tile(expected, (3, 1)), rtol=1e-6)
    np.testing.assert_allclose(half.cameras.intrinsics, whole.cameras.intrinsics, rtol=1e-6)
    np.testing.assert_allclose(odd.cameras.intrinsics, whole.cameras.intrinsics, atol=0.03)
    for name, size in (
        ("cropped", (60, 60)),
        ("wider", (80, 50)),
        ("portrait", (60, 80)),
        ("small_portrait", (30, 40)),
    ):
        capture(tmp_path / name, {}, size=size)
        with pytest.raises(DataError, match=f"{size[0]}×{size[1]} where its camera is 80×60"):
            next(read_transforms(tmp_path / name))
    capture(tmp_path / "nearly", {"w": 100, "h": 101}, size=(101, 100))
    with pytest.raises(DataError, match="on its side"):
        next(read_transforms(tmp_path / "nearly"))


def test_a_portrait_stored_lying_is_turned_if_its_camera_stands(tmp_path):
    """EXIF orientation 6: what is stored is to be turned clockwise by 90°, so that its left becomes the top."""
    stored = np.zeros((60, 80, 3), np.uint8)
    stored[:, :40] = [255, 0, 0]
    exif = Image.Exif()
    exif[0x0112] = 6
    capture(tmp_path / "standing", {"w": 60, "h": 80}, pictures=stored, exif=exif)
    capture(tmp_path / "lying", {}, pictures=stored, exif=exif)
    standing, lying = (next(read_transforms(tmp_path / name)) for name in ("standing", "lying"))
    upper, left = (decode_premultiplied(record.images[0]) for record in (standing, lying))
    assert (upper[:25, :, 0] > 200).all() and (upper[35:, :, 0] < 50).all()  # red above
    assert (left[:, :25, 0] > 200).all() and (left[:, 35:, 0] < 50).all()  # red on the left, as COLMAP has seen it


def test_odd_json_is_one_line(tmp_path):
    good = json.loads(capture(tmp_path, {}).read_text())
    spoils = [
        "[]",
        "7",
        "null",
        "{}",
        '{"frames": {}}',
        '{"frames": [7]}',
        '{"frames": [[]]}',
        "[" * 100_000,
        '{"frames": [{"file_path": 7}]}',
        json.dumps({**good, "fl_x": [1]}),
        json.dumps({**good, "frames": [{"file_path": "p_0.png", "transform_matrix": "none"}]}),
        json.dumps({**good, "frames": [{"file_path": "p_0.png", "transform_matrix": [[1e999] * 4] * 4}]}),
        json.dumps({**good, "frames": [{"file_path": "p_0.png"}]}),
        json.dumps({**good, "frames": [{"file_path": "a" * 5000}]}),
        json.dumps({**good, "frames": [{"file_path": "p\0.png"}]}),
        json.dumps({**good, "frames": [{"file_path": "\ud800.png"}]}),
        json.dumps({**good, "frames": [{**good["frames"][0], "mask_path": ["x"]}]}),
        json.dumps({**good, "fl_x": 0}).replace("0", "9" * 5000, 1),
    ]
    for text in spoils:
        (tmp_path / "transforms.json").write_text(text)
        with pytest.raises(DataError) as error:
            next(read_transforms(tmp_path))
        assert "\n" not in str(error.value)
    for text in ("[" * 100_000, "[]", '{"a": 7}', '{"a": {"context": [1], "target": ["x"]}}', "NaN"):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(DataError):
            read_evaluation_index(tmp_path / "index.json")


HEADER = (
    "# Image list with two lines of data per image:\n#   IMAGE_ID, QW, QX, …\n#   POINTS2D[] as (X, Y, POINT3D_ID)\n"
)


def image_line(number, name, camera=1):
    return f"{number} 0.5 0.5 0.5 -0.5 {number} 2 3 {camera} {name}\n"


def text_model(folder, images, cameras="1 PINHOLE 640 480 500 510 320 240\n2 OPENCV 64 48 50 51 32 24 0.1 0 0 0\n"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text(f"# Camera list\n\n{cameras}")
    (folder / "images.txt").write_bytes(images.encode())
    (folder / "points3D.txt").write_text("")
    return folder


IMAGES = {
    "plain": f"{HEADER}{image_line(1, 'a.png')}1 2 -1 3 4 7\n{image_line(2, 'b.png')}3 4 -1\n",
    "a blank line after the header": f"{HEADER}\n{image_line(1, 'a.png')}1 2 -1\n{image_line(2, 'b.png', 2)}\n",
    "no features": f"{HEADER}{image_line(1, 'a.png')}\n{image_line(2, 'b.png')}\n",
    "comments between": f"{HEADER}{image_line(1, 'a.png')}\n# note\n{image_line(2, 'b.png')}# none\n",
    "more blank lines": f"{HEADER}{image_line(1, 'a.png')}\n\n\n{image_line(2, 'b.png')}\n",
    "Windows": f"{HEADER}{image_line(1, 'a.png')}\n{image_line(2, 'b.png')}\n".replace("\n", "\r\n"),
    "a rig": f"{HEADER}{image_line(1, 'left/a.png')}\n{image_line(2, 'right/a.png', 2)}\n",
    "many features": f"{HEADER}{image_line(1, 'a.png')}{'1 2 -1 ' * 9}\n{image_line(2, 'b.png')}\n",
}


@pytest.mark.parametrize("kind", IMAGES)
def test_text_models_are_read_as_pycolmap_reads_them(tmp_path, kind):
    pycolmap = pytest.importorskip("pycolmap")
    theirs = pycolmap.Reconstruction(str(text_model(tmp_path, IMAGES[kind])))
    mine = read_colmap(tmp_path)
    by_name = {image.name: image for image in theirs.images.values()}
    assert [image.name for image in mine] == sorted(by_name) and len(mine) == 2
    for image in mine:
        pose = np.linalg.inv(image.camera_to_world)[:3]
        np.testing.assert_allclose(pose, by_name[image.name].cam_from_world().matrix(), atol=1e-12)
        camera = theirs.cameras[by_name[image.name].camera_id]
        points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2))
        expected = camera.img_from_cam(np.concatenate([points, np.ones((20, 1))], axis=1))
        np.testing.assert_allclose(distort(image.lens, points), expected, atol=1e-9)


def test_pictures_without_feature_lines_at_all(tmp_path):
    """pycolmap takes every second picture for features and loses it; nothing in the file is ambiguous."""
    lines = "".join(image_line(number, f"{name}.png") for number, name in enumerate("abcde", 1))
    for text in (
        HEADER + lines,
        (HEADER + lines).rstrip(),
        f"{HEADER}{image_line(1, 'a.png')}\n{image_line(2, 'my b.png')}",
    ):
        names = [image.name for image in read_colmap(text_model(tmp_path, text))]
        assert names in (["a.png", "b.png", "c.png", "d.png", "e.png"], ["a.png", "my b.png"])


def test_text_that_is_no_model(tmp_path):
    for images in ("hello\n", image_line(1, "a.png", 9), image_line(1, "a.png").replace("0.5", "x"), "1 2 -1\n"):
        with pytest.raises(DataError):
            read_colmap(text_model(tmp_path, images))
    for cameras in (
        "1 PINHOLE 640 480 500\n",
        "1 PINHOLE 0 480 500 500 320 240\n",
        "1 PINHOLE x 480 500 500 320 240\n",
        "1\n",
    ):
        with pytest.raises(DataError):
            read_colmap(text_model(tmp_path, image_line(1, "a.png"), cameras))


def test_every_model_is_colmap_s_or_refused_and_one_that_nobody_uses_harms_nothing(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (50, 2))
    known = 0
    for name in pycolmap.CameraModelId.__members__:
        if name == "INVALID":
            continue
        camera = pycolmap.Camera.create_from_model_name(1, name, 90.0, 80, 60)
        values = list(camera.params)
        for place, term in enumerate(camera.params_info.split(", ")):
            values[place] += {"k": 0.03, "p": 0.01}.get(term[0], 0.0)
        camera.params = values
        lines = f"{image_line(1, 'a.png')}\n"
        text = f"{name} 80 60 {' '.join(map(str, values))}"
        folder = text_model(tmp_path / name, lines, f"1 {text}\n")
        unused = text_model(tmp_path / f"{name}_unused", lines, f"1 PINHOLE 640 480 500 510 320 240\n7 {text}\n")
        assert [image.lens.width for image in read_colmap(unused)] == [640]
        model = pycolmap.Reconstruction(str(unused))
        binary = tmp_path / f"{name}_binary"
        binary.mkdir()
        model.write_binary(str(binary))
        assert [image.lens.width for image in read_colmap(binary)] == [640]
        try:
            (image,) = read_colmap(folder)
        except DataError as error:
            assert name in str(error)
            continue
        known += 1
        expected = camera.img_from_cam(np.concatenate([points, np.ones((50, 1))], axis=1))
        np.testing.assert_allclose(distort(image.lens, points), expected, atol=1e-9, err_msg=name)
    assert known >= 11
    exotic = text_model(
        tmp_path / "new", f"{image_line(1, 'a.png')}\n", "1 PINHOLE 640 480 500 510 320 240\n2 OF_TOMORROW 1 1\n"
    )
    assert len(read_colmap(exotic)) == 1
    with pytest.raises(DataError, match="OF_TOMORROW"):
        read_colmap(text_model(exotic, f"{image_line(1, 'a.png', 2)}\n", "2 OF_TOMORROW 1 1\n"))


def test_a_binary_model_with_a_huge_count_or_an_unknown_model(tmp_path):
    (tmp_path / "images.bin").write_bytes(struct.pack("<Q", 0))
    for content in (struct.pack("<Q", 2**60), struct.pack("<QiiQQ", 1, 1, 99, 640, 480) + bytes(32)):
        (tmp_path / "cameras.bin").write_bytes(content)
        with pytest.raises(DataError):
            read_colmap(tmp_path)


def rig(folder, images="images", names=("left/a.png", "right/a.png", "left/b.png", "right/b.png")):
    """A capture by two cameras, whose pictures have equal names: the left ones are red, the right ones blue."""
    text = "".join(f"{number} 1 0 0 0 {number} 0 0 1 {name}\n\n" for number, name in enumerate(names))
    text_model(folder / "sparse" / "0", text, "1 PINHOLE 64 48 50 50 32 24\n")
    for name in names:
        (folder / images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (255, 0, 0) if name.startswith("left") else (0, 0, 255)).save(folder / images / name)
    return folder


def test_a_rig_s_pictures_of_equal_names_are_told_apart(tmp_path):
    scene = "d" * 64
    rig(tmp_path / scene, "images_4")
    (record,) = read_dl3dv(tmp_path, SourceOptions(size=24))
    middle = [Image.open(io.BytesIO(image)).convert("RGB").getpixel((12, 12)) for image in record.images]
    assert [color[0] > 200 for color in middle] == [True, True, False, False]  # by name: left/a, left/b, right/a, …
    assert [color[2] > 200 for color in middle] == [False, False, True, True]
    (tmp_path / scene / "images_4" / "right" / "a.png").unlink()
    with pytest.raises(DataError, match="right/a.png"):
        next(read_dl3dv(tmp_path))
    content = json.loads(capture(tmp_path / "json", {}, name="images/left/p_{}.png").read_text())
    for number in range(3):
        (tmp_path / "json" / "images_2" / "left").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (0, 255, 0)).save(tmp_path / "json" / "images_2" / "left" / f"p_{number}.png")
    frames = read_frames(tmp_path / "json" / "transforms.json", "images_2")
    assert [frame.read().shape for frame in frames] == [(30, 40, 3)] * len(content["frames"])


def test_names_that_leave_the_folder_are_not_followed(tmp_path):
    home = rig(tmp_path / "7" / "thing", names=("a.png", "b.png"))
    text = "1 1 0 0 0 0 0 0 1 ../../secret.png\n\n2 1 0 0 0 1 0 0 1 /etc/hostname\n\n"
    text_model(home / "sparse" / "0", text, "1 PINHOLE 64 48 50 50 32 24\n")
    Image.new("RGB", (64, 48)).save(tmp_path / "secret.png")
    with pytest.raises(DataError, match="is not in"):
        next(read_mvimgnet(tmp_path))


def test_models_without_a_size_are_refused():
    for width, height in ((0, 10), (10, 0), (10**9, 10)):
        with pytest.raises(DataError, match="pixels"):
            colmap_lens(1, width, height, [1.0, 1.0, 1.0, 1.0])
