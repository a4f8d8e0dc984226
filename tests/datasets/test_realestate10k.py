"""RealEstate10K: chunks by torch.save, the processed layout by Pillow and json."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.datasets import SourceOptions, read_evaluation_index, read_realestate10k, recognise_source
from diffgs_jax.errors import DataError, UserError

LEFT, WIDTH = 20, 160
"""The square renderings lie off the middle of wide, white pictures, so that the middle square has to be found."""


def wide(views, tools):
    size = views.pictures.shape[1]
    pictures = np.full((len(views.pictures), size, WIDTH, 3), 255, np.uint8)
    pictures[:, :, LEFT : LEFT + size] = tools.on_white(views.pictures)
    fx, fy, cx, cy = views.cameras.intrinsics.T.astype(float)
    return pictures, np.stack([fx * size / WIDTH, fy, (cx * size + LEFT) / WIDTH, cy], axis=-1)


def middle_only(views):
    """The depth that is in the middle square."""
    size = views.depth.shape[1]
    columns = np.arange(size) + LEFT
    kept = (columns >= (WIDTH - size) // 2) & (columns < (WIDTH + size) // 2)
    return views._replace(depth=np.where(kept, views.depth, np.nan))


def jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=98, subsampling=0)
    return file.getvalue()


def world_to_camera(views):
    """RealEstate10K's world is the first camera's: y down."""
    poses = views.cameras.camera_to_world.astype(float)
    return np.linalg.inv(poses) @ poses[0]


def example(views, tools, key="scene-a"):
    torch = pytest.importorskip("torch")
    pictures, intrinsics = wide(views, tools)
    rows = np.concatenate(
        [intrinsics, np.zeros((len(pictures), 2)), world_to_camera(views)[:, :3].reshape(-1, 12)], axis=1
    )
    return {
        "key": key,
        "url": "https://example.org/video",
        "timestamps": torch.arange(len(pictures)),
        "cameras": torch.tensor(rows, dtype=torch.float32),
        "images": [torch.tensor(np.frombuffer(jpeg(picture), np.uint8).copy()) for picture in pictures],
    }


def test_unprojected_depth_lands_in_the_other_masks(ring, tools, tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    torch.save([example(ring, tools), example(ring, tools, "scene-b")], tmp_path / "train" / "000000.torch")
    torch.save([example(ring, tools, "scene-c")], tmp_path / "test" / "000000.torch")
    assert recognise_source(tmp_path) == "realestate10k"
    items = list(read_realestate10k(tmp_path).items)
    assert {item.uid: item.split for item in items} == {"scene-a": "train", "scene-b": "train", "scene-c": "test"}
    record = tools.check(items[0].load(), 12)
    assert record.domain == "scene" and record.uid in ("scene-a", "scene-b", "scene-c")
    assert tools.landing_by_true_depth(record, middle_only(ring)) >= 0.99
    # A world that began in the first camera's axes is upright again, at its old scale.
    scale, rotation, _ = tools.similarity(ring.cameras.camera_to_world, record.cameras.camera_to_world)
    assert abs(scale - 1) < 1e-4 and rotation[2, 2] > 0.999


def test_the_processed_layout_gives_the_same_record(ring, tools, tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "chunks").mkdir()
    torch.save([example(ring, tools)], tmp_path / "chunks" / "000000.torch")
    (expected,) = read_realestate10k(tmp_path / "chunks")
    pictures, intrinsics = wide(ring, tools)
    images = tmp_path / "processed" / "test" / "images" / "scene-a"
    images.mkdir(parents=True)
    frames = []
    for view, picture in enumerate(pictures):
        (images / f"{view:05d}.png").write_bytes(jpeg(picture))  # its content counts, not its suffix
        pixels = intrinsics[view] * np.tile(picture.shape[1::-1], 2)
        frames.append(
            {
                "image_path": f"/somebody/elses/disk/images/scene-a/{view:05d}.png",
                "fxfycxcy": pixels.tolist(),
                "w2c": world_to_camera(ring)[view].tolist(),
            }
        )
    (tmp_path / "processed" / "test" / "metadata").mkdir()
    file = tmp_path / "processed" / "test" / "metadata" / "scene-a.json"
    file.write_text(json.dumps({"scene_name": "scene-a", "frames": frames}))
    assert recognise_source(tmp_path / "processed") == "realestate10k"
    (item,) = read_realestate10k(tmp_path / "processed").items
    assert item.split == "test"
    record = tools.check(item.load(), 12)
    assert record.uid == "scene-a" and record.images == expected.images
    for mine, theirs in zip(record.cameras, expected.cameras, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_views_are_stored_at_the_size_asked_for(ring, tools, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save([example(ring, tools)], tmp_path / "a.torch")
    (record,) = read_realestate10k(tmp_path / "a.torch", SourceOptions(size=48))
    (full,) = read_realestate10k(tmp_path, SourceOptions(size=1000))
    assert Image.open(io.BytesIO(record.images[0])).size == (48, 48)
    assert Image.open(io.BytesIO(full.images[0])).size == (96, 96)
    np.testing.assert_array_equal(record.cameras.intrinsics, full.cameras.intrinsics)


def test_bad_scenes_are_named_and_the_others_are_read(ring, tools, tmp_path):
    torch = pytest.importorskip("torch")
    few = ring._replace(cameras=type(ring.cameras)(*(array[:3] for array in ring.cameras)), pictures=ring.pictures[:3])
    no_pose, mirrored, short, broken = (example(few, tools, key) for key in ("nan", "mirrored", "short", "broken"))
    no_pose["cameras"][1, 8] = float("nan")
    mirrored["cameras"][2, 6:10] *= -1
    short["images"] = short["images"][:2]
    broken["images"][1] = broken["images"][1][:50]
    wide_angle = example(few, tools, "wide")
    wide_angle["cameras"][0, 0] = 1e-4
    (tmp_path / "train").mkdir()
    bad = [no_pose, mirrored, short, broken, wide_angle]
    torch.save([*bad, example(few, tools, "good")], tmp_path / "train" / "000000.torch")
    data = (tmp_path / "train" / "000000.torch").read_bytes()
    (tmp_path / "train" / "000001.torch").write_bytes(data[: len(data) // 2])
    (tmp_path / "train" / "index.json").write_text(json.dumps({"lost": "000001.torch", "good": "000000.torch"}))
    expected = {
        "nan": "000000.torch, record nan: view 1 has a pose that is not finite",
        "mirrored": "record mirrored: view 2 has a left-handed pose",
        "short": "record short: 2 pictures, but cameras of shape",
        "broken": "record broken: view 1 is an unreadable picture",
        "wide": "record wide: view 0 has absurd intrinsics",
        "lost": "000001.torch, record lost: the chunk cannot be read: .*truncated",
    }
    read = []
    for item in read_realestate10k(tmp_path).items:
        if item.uid in expected:
            with pytest.raises(DataError, match=expected.pop(item.uid)):
                item.load()
        else:
            read.append(item.load().uid)
    assert read == ["good"] and not expected


def test_a_chunk_that_would_run_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "flag").unlink(missing_ok=True)

    class Malicious:
        def __reduce__(self):
            return (type(tmp_path).touch, (tmp_path / "flag",))

    torch.save([{"key": "a", "images": Malicious()}], tmp_path / "a.torch")
    with pytest.raises(DataError, match="not run"):
        next(read_realestate10k(tmp_path))
    assert not (tmp_path / "flag").exists()


def test_the_evaluation_index(tmp_path):
    index = {"a": {"context": [3, 50], "target": [10, 20, 30], "overlap": 0.5}, "b": None}
    (tmp_path / "index.json").write_text(json.dumps(index))
    views = read_evaluation_index(tmp_path / "index.json")
    assert list(views) == ["a"] and views["a"].context == (3, 50) and views["a"].target == (10, 20, 30)
    for bad in ("[]", '{"a": {"context": [1]}}', "{", '{"a": {"context": ["x"], "target": []}}'):
        (tmp_path / "bad.json").write_text(bad)
        with pytest.raises(DataError, match="bad.json"):
            read_evaluation_index(tmp_path / "bad.json")
    with pytest.raises(DataError, match="cannot read .*missing.json"):
        read_evaluation_index(tmp_path / "missing.json")


def test_nothing_there_is_bad_usage(tmp_path):
    with pytest.raises(UserError, match="neither"):
        read_realestate10k(tmp_path)
