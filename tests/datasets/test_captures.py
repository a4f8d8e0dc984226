"""COLMAP models by pycolmap, transforms.json by json: MVImgNet, DL3DV and one's own captures."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data.maps import decode_depth
from diffgs_jax.datasets import SourceOptions, read_dl3dv, read_mvimgnet, read_transforms, recognise_source
from diffgs_jax.errors import DataError, UserError

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
WORLD = np.asarray([[0.36, 0.48, -0.8, 1.5], [-0.8, 0.6, 0.0, -2.0], [0.48, 0.64, 0.6, 0.7], [0, 0, 0, 1]])
"""Structure from motion leaves the world turned, moved and scaled anyhow."""
SCALE = 3.7


def anyhow(views):
    poses = views.cameras.camera_to_world.astype(float)
    poses[:, :3, 3] *= SCALE
    return WORLD @ poses


def write_colmap(folder, views, camera, names, text=False):
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    for number, (pose, name) in enumerate(zip(anyhow(views), names, strict=True), 1):
        inverse = np.linalg.inv(pose)
        image = pycolmap.Image(name=name, camera_id=camera.camera_id, image_id=number)
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(np.asarray([1.0, 2.0]))] * number)
        rigid = pycolmap.Rigid3d(pycolmap.Rotation3d(np.ascontiguousarray(inverse[:3, :3])), inverse[:3, 3])
        model.add_image_with_trivial_frame(image, rigid)
    model.add_point3D(np.zeros(3), pycolmap.Track(), np.zeros(3, np.uint8))
    folder.mkdir(parents=True)
    (model.write_text if text else model.write_binary)(str(folder))


def through_lens(views, camera, background):
    """What a camera with a lens takes: pycolmap says where each of its pixels looks, and there the rendering is."""
    cv2 = pytest.importorskip("cv2")
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width]
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=-1).reshape(-1, 2)
    rays = np.asarray(camera.cam_from_img(pixels)).reshape(camera.height, camera.width, 2)
    size = views.pictures.shape[1]
    fx, fy, cx, cy = views.cameras.intrinsics[0].astype(float)
    x = ((rays[..., 0] * fx + cx) * size - 0.5).astype(np.float32)
    y = ((rays[..., 1] * fy + cy) * size - 0.5).astype(np.float32)
    for picture in views.pictures:
        rgba = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        alpha = rgba[..., 3:] / 255
        yield np.rint(rgba[..., :3] * alpha + background * (1 - alpha)).astype(np.uint8), rgba[..., 3]


def write_mvimgnet(root, views, instance="3200abcd", masks="apart"):
    pycolmap = pytest.importorskip("pycolmap")
    # A portrait, the principal point off the middle, strong distortion (at the corners by 12 %).
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL", width=120, height=176, params=[150.0, 58.0, 91.0, 0.25], camera_id=1
    )
    names = [f"{number:03d}.jpg" for number in range(len(views.pictures))]
    home = root / "7" / instance
    write_colmap(home / "sparse" / "0", views, camera, names)
    (home / "sparse" / "1").mkdir()  # a failed second model, to be ignored
    (home / "images").mkdir()
    where = home / "masks" if masks == "beside" else root / "mask" / "7" / instance
    where.mkdir(parents=True)
    background = np.random.default_rng(0).integers(0, 255, (176, 120, 3))
    for name, (picture, mask) in zip(names, through_lens(views, camera, background), strict=True):
        Image.fromarray(picture).save(home / "images" / name, quality=95)
        file = where / (f"{name}.png" if masks == "apart" else name.replace("jpg", "png"))
        Image.fromarray(np.where(mask > 0, 255 if masks == "apart" else 1, 0).astype(np.uint8)).save(file)
    return home


@pytest.mark.parametrize("masks", ["apart", "beside"])
def test_mvimgnet_unprojects_into_the_other_masks(ring, tools, tmp_path, masks):
    write_mvimgnet(tmp_path, ring, masks=masks)
    (record,) = read_mvimgnet(tmp_path)
    assert recognise_source(tmp_path) == "mvimgnet"
    tools.check(record, 12)
    assert record.uid == "7/3200abcd" and record.domain == "object"
    assert tools.landing_by_true_depth(record, ring) >= 0.99
    # The visual hull says where the object is and how large (some views lack the end of its thin tail); z is up.
    scale, rotation, offset = tools.similarity(ring.cameras.camera_to_world, record.cameras.camera_to_world)
    assert abs(scale - 1) < 0.08 and np.abs(offset).max() < 0.08 and rotation[2, 2] > 0.999
    intrinsics = record.cameras.intrinsics
    np.testing.assert_allclose(intrinsics[:, 0], intrinsics[:, 1])
    np.testing.assert_allclose(intrinsics[:, 2:], 0.5)
    # The background's noise is gone, and the object fills the picture as far as one field of view for all lets it.
    spans = [np.ptp(np.nonzero(mask), axis=1).max() / len(mask) for mask in tools.masks_of(record)]
    assert 0.75 < max(spans) < 1


def test_mvimgnet_without_masks_or_with_a_damaged_model(ring, tools, tmp_path):
    few = ring._replace(cameras=type(ring.cameras)(*(array[:4] for array in ring.cameras)), pictures=ring.pictures[:4])
    for name in ("a", "b", "c", "d", "e", "f"):
        write_mvimgnet(tmp_path, few, name)
    (tmp_path / "mask" / "7" / "a" / "002.jpg.png").unlink()
    model = tmp_path / "7" / "b" / "sparse" / "0" / "images.bin"
    model.write_bytes(model.read_bytes()[:-30])
    mask = tmp_path / "mask" / "7" / "c" / "001.jpg.png"
    Image.fromarray(np.zeros((176, 120), np.uint8)).save(mask)
    (tmp_path / "7" / "d" / "images" / "003.jpg").write_bytes(b"\xff\xd8 no picture")
    (tmp_path / "7" / "e" / "sparse" / "0" / "cameras.bin").unlink()
    expected = {
        "7/a": "record 7/a: 002.jpg has no mask",
        "7/b": "record 7/b: .*truncated",
        "7/c": "record 7/c: 001.jpg has an empty mask",
        "7/d": "record 7/d: 003.jpg is an unreadable picture",
        "7/e": "cannot read .*cameras.bin",
    }
    records = read_mvimgnet(tmp_path)
    for message in expected.values():
        with pytest.raises(DataError, match=message):
            next(records)
    assert next(records).uid == "7/f"


def test_every_truncation_of_a_model_is_an_error(ring, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    from diffgs_jax.datasets._colmap import read_colmap

    camera = pycolmap.Camera(model="OPENCV", width=64, height=48, params=[60, 61, 32, 24, 0.1, 0, 0, 0], camera_id=7)
    write_colmap(tmp_path / "m", ring, camera, [f"{number}.png" for number in range(12)])
    whole = read_colmap(tmp_path / "m")
    assert len(whole) == 12
    for name in ("images.bin", "cameras.bin"):
        data = (tmp_path / "m" / name).read_bytes()
        for length in range(0, len(data), 7):
            (tmp_path / "m" / name).write_bytes(data[:length])
            with pytest.raises(DataError):
                read_colmap(tmp_path / "m")
        (tmp_path / "m" / name).write_bytes(data)
    write_colmap(tmp_path / "t", ring, camera, [f"{number}.png" for number in range(12)], text=True)
    for mine, theirs in zip(read_colmap(tmp_path / "t"), whole, strict=True):
        assert mine[:2] == theirs[:2]
        np.testing.assert_allclose(mine.camera_to_world, theirs.camera_to_world, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("SIMPLE_PINHOLE", [90, 40, 30]),
        ("PINHOLE", [90, 80, 40, 30]),
        ("SIMPLE_RADIAL", [90, 40, 30, -0.2]),
        ("RADIAL", [90, 40, 30, -0.2, 0.05]),
        ("OPENCV", [90, 80, 40, 30, -0.2, 0.05, 0.01, -0.02]),
        ("OPENCV_FISHEYE", [90, 80, 40, 30, 0.1, -0.02, 0.01, -0.003]),
        ("SIMPLE_RADIAL_FISHEYE", [90, 40, 30, 0.1]),
        ("RADIAL_FISHEYE", [90, 40, 30, 0.1, -0.02]),
    ],
)
def test_lenses_are_colmap_s(model, parameters):
    pycolmap = pytest.importorskip("pycolmap")
    from diffgs_jax.datasets._lenses import colmap_lens, distort

    camera = pycolmap.Camera(model=model, width=80, height=60, params=parameters, camera_id=1)
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 2))
    expected = camera.img_from_cam(np.concatenate([points, np.ones((50, 1))], axis=1))
    lens = colmap_lens(
        int(camera.model.value if hasattr(camera.model, "value") else camera.model),
        80,
        60,
        [float(p) for p in parameters],
    )
    np.testing.assert_allclose(distort(lens, points), expected, atol=1e-9)


def opengl(views):
    return anyhow(views) @ FLIP


def write_transforms(folder, views, tools, *, alpha=True, depth=False, per_frame=False, suffix=True):
    (folder / "images").mkdir(parents=True)
    size = views.pictures.shape[1]
    focal = float(views.cameras.intrinsics[0, 0]) * size
    shared = {"fl_x": focal, "fl_y": focal, "cx": size / 2, "cy": size / 2, "w": size, "h": size}
    frames = []
    for view, (picture, pose) in enumerate(zip(views.pictures, opengl(views), strict=True)):
        (folder / "images" / f"r_{view}.png").write_bytes(tools.png(picture if alpha else tools.on_white(picture)))
        frame = {"file_path": f"./images/r_{view}{'.png' if suffix else ''}", "transform_matrix": pose.tolist()}
        if per_frame:
            frame |= shared
        if depth:
            millimetres = np.rint(np.nan_to_num(views.depth[view]) * SCALE * 1000).astype(np.uint16)
            (folder / f"depth_{view}.png").write_bytes(tools.png(millimetres))
            frame["depth_file_path"] = f"depth_{view}.png"
        frames.append(frame)
    top = {} if per_frame else shared
    if not suffix:
        top = {"camera_angle_x": 2 * np.arctan(0.5 * size / focal)}
    (folder / "transforms.json").write_text(json.dumps({**top, "frames": frames[::-1]}))
    return folder


def test_a_capture_with_alpha_is_an_object(ring, tools, tmp_path):
    write_transforms(tmp_path / "one", ring, tools, depth=True)
    write_transforms(tmp_path / "deep" / "two", ring, tools, per_frame=True)
    write_transforms(tmp_path / "deep" / "three", ring, tools, suffix=False)
    assert recognise_source(tmp_path) == "transforms_json"
    records = {record.uid: record for record in read_transforms(tmp_path)}
    assert set(records) == {"one", "deep/two", "deep/three"}
    for record in records.values():
        tools.check(record, 12)
        assert record.domain == "object"
        assert tools.landing_by_true_depth(record, ring) >= 0.99
        np.testing.assert_allclose(record.cameras.camera_to_world, records["one"].cameras.camera_to_world, atol=1e-5)
    assert tools.landing_by_own_depth(records["one"]) >= 0.99
    scale, rotation, offset = tools.similarity(ring.cameras.camera_to_world, records["one"].cameras.camera_to_world)
    assert abs(scale - 1) < 0.08 and np.abs(offset).max() < 0.08 and rotation[2, 2] > 0.999
    depth = decode_depth(records["one"].maps["depth"])
    np.testing.assert_allclose(depth / scale, np.where(ring.depth > 0, ring.depth, np.nan), atol=0.01)


def test_a_capture_without_alpha_is_a_scene(ring, tools, tmp_path):
    write_transforms(tmp_path, ring, tools, alpha=False)
    (record,) = read_transforms(tmp_path / "transforms.json")
    assert record.domain == "scene" and record.uid == tmp_path.name
    tools.check(record, 12)
    assert tools.landing_by_true_depth(record, ring) >= 0.99
    scale, rotation, _ = tools.similarity(ring.cameras.camera_to_world, record.cameras.camera_to_world)
    assert abs(scale / SCALE - 1) < 1e-4 and rotation[2, 2] > 0.999


def test_masks_make_an_object_of_a_capture(ring, tools, tmp_path):
    write_transforms(tmp_path, ring, tools, alpha=False)
    content = json.loads((tmp_path / "transforms.json").read_text())
    for frame in content["frames"]:
        view = int(frame["file_path"].split("_")[-1].removesuffix(".png"))
        frame["mask_path"] = f"mask_{view}.png"
        (tmp_path / f"mask_{view}.png").write_bytes(tools.png(ring.pictures[view][..., 3]))
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    (record,) = read_transforms(tmp_path)
    assert record.domain == "object"
    assert tools.landing_by_true_depth(record, ring) >= 0.99


def test_bad_captures_are_named(ring, tools, tmp_path):
    few = ring._replace(cameras=type(ring.cameras)(*(array[:4] for array in ring.cameras)), pictures=ring.pictures[:4])
    spoils = {
        "a-matrix": lambda frame: frame["transform_matrix"][0].__setitem__(0, float("nan")),
        "b-mirror": lambda frame: frame["transform_matrix"].__setitem__(0, [-x for x in frame["transform_matrix"][0]]),
        "c-path": lambda frame: frame.__setitem__("file_path", "nowhere/x"),
        "d-rigid": lambda frame: frame["transform_matrix"][1].__setitem__(1, 5.0),
        "e-focal": lambda frame: frame.__setitem__("fl_x", 1e9),
        "f-model": lambda frame: frame.__setitem__("camera_model", "PANORAMA"),
    }
    messages = [
        "NaN is no number of JSON",
        "left-handed",
        "nowhere/x is missing",
        "not rigid",
        "absurd intrinsics",
        "PANORAMA",
    ]
    for name, spoil in spoils.items():
        write_transforms(tmp_path / name, few, tools)
        content = json.loads((tmp_path / name / "transforms.json").read_text())
        spoil(content["frames"][1])
        (tmp_path / name / "transforms.json").write_text(json.dumps(content))
    write_transforms(tmp_path / "good", few, tools)
    records = read_transforms(tmp_path)
    for name, message in zip(spoils, messages, strict=True):
        with pytest.raises(DataError, match=f"record {name}: .*{message}"):
            next(records)
    assert next(records).uid == "good"
    with pytest.raises(UserError, match="no transforms.json"):
        read_transforms(tmp_path / "good" / "images")


def write_dl3dv(root, views, scene, *, copies=("images_4", "images_8"), layout=""):
    """Frames of 16:10 through an OPENCV lens; only smaller copies of them are published."""
    pycolmap, cv2 = pytest.importorskip("pycolmap"), pytest.importorskip("cv2")
    parameters = [640.0, 640.0, 320.0, 200.0, -0.08, 0.02, 0.001, -0.002]
    home = root / scene / layout
    frames = []
    for copy in copies:
        shrink = {"images_4": 4, "images_8": 8}[copy]
        scaled = [value / shrink for value in parameters[:4]] + parameters[4:]
        camera = pycolmap.Camera(model="OPENCV", width=640 // shrink, height=400 // shrink, params=scaled, camera_id=1)
        (home / copy).mkdir(parents=True)
        for number, (picture, _) in enumerate(through_lens(views, camera, np.full(3, 255)), 1):
            cv2.imwrite(str(home / copy / f"frame_{number:05d}.png"), picture[..., ::-1])
    for number, pose in enumerate(opengl(views), 1):
        frames.append({"file_path": f"images/frame_{number:05d}.png", "transform_matrix": pose.tolist()})
    names = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")
    intrinsics = dict(zip(names, parameters, strict=True))
    content = {"w": 640, "h": 400, **intrinsics, "camera_model": "OPENCV", "frames": frames}
    (home / "transforms.json").write_text(json.dumps(content))
    return home


@pytest.fixture(scope="module")
def arc(tools):
    """Views of a third of a turn, nearer by, as in a video of a place."""
    return tools.render_horse(np.linspace(-60, 60, 6), np.full(6, 25.0), size=160, distance=2.5)


def test_dl3dv_unprojects_into_the_other_masks(arc, tools, tmp_path):
    scenes = ["a" * 64, "b" * 64, "c" * 64]
    write_dl3dv(tmp_path / "1K", arc, scenes[0])
    write_dl3dv(tmp_path / "DL3DV-Benchmark", arc, scenes[1], layout="nerfstudio")
    home = write_dl3dv(tmp_path / "2K", arc, scenes[2], layout="gaussian_splat")
    (home / "transforms.json").unlink()
    pycolmap = pytest.importorskip("pycolmap")
    parameters = [640.0, 640.0, 320.0, 200.0, -0.08, 0.02, 0.001, -0.002]
    camera = pycolmap.Camera(model="OPENCV", width=640, height=400, params=parameters, camera_id=1)
    write_colmap(home / "sparse" / "0", arc, camera, [f"frame_{number:05d}.png" for number in range(1, 7)])
    assert recognise_source(tmp_path) == "dl3dv"
    items = {item.uid: item for item in read_dl3dv(tmp_path).items}
    assert {uid: item.split for uid, item in items.items()} == {scenes[0]: None, scenes[1]: "test", scenes[2]: None}
    for item in items.values():
        record = tools.check(item.load(), 6)
        assert record.domain == "scene"
        assert Image.open(io.BytesIO(record.images[0])).size == (100, 100)  # images_4, its middle square
        assert tools.landing_by_true_depth(record, arc) >= 0.99
    (small,) = read_dl3dv(tmp_path / "1K", SourceOptions(size=50))
    assert Image.open(io.BytesIO(small.images[0])).size == (50, 50)
    assert tools.landing_by_true_depth(small, arc) >= 0.98


def test_nothing_there_is_bad_usage(tmp_path):
    for read in (read_dl3dv, read_mvimgnet, read_transforms):
        with pytest.raises(UserError):
            read(tmp_path / "nowhere")
