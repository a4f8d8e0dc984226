"""Rows that are written are read back by the reader of the published ones, and hold what its loader decodes."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data import EncodedMap, Record, open_store
from diffgs_jax.data.images import decode_premultiplied, encode_webp
from diffgs_jax.data.maps import decode_depth, decode_normals, encode_depth, encode_normals
from diffgs_jax.data.store import write_store
from diffgs_jax.datasets import diffsplat_row, read_diffsplat, recognise_source
from diffgs_jax.datasets.conversion import ConversionSettings, convert
from diffgs_jax.datasets.stores import read_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras, intrinsics_from_fov
from diffgs_jax.synthesis.meshes.viewpoints import random_viewpoints, ring_viewpoints

VIEWS, SIDE = 27, 8


def made_record(uid="thing", seed=0, webp=False):
    """A record of noise, 24 views of a ring and others, with depth and normals where it is opaque."""
    random = np.random.default_rng(seed)
    ring, others = ring_viewpoints([12.0], 24, fov=39.6), random_viewpoints(uid, VIEWS - 24, fov=39.6)
    poses = np.concatenate([ring.camera_to_world, others.camera_to_world]).astype(np.float32)
    cameras = Cameras(poses, np.tile(intrinsics_from_fov(39.6), (VIEWS, 1)).astype(np.float32))
    pixels = random.integers(0, 256, (VIEWS, SIDE, SIDE, 4), np.uint8)
    pixels[:, 2:6, 2:6, 3] = 255
    pixels[:, 0, :, 3] = 0
    normals = random.normal(size=(VIEWS, SIDE, SIDE, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    hidden = pixels[..., 3] < 128
    depth = np.where(hidden, np.nan, random.uniform(1.7, 3.7, hidden.shape))
    normals = np.where(hidden[..., None], np.nan, normals)
    return Record(
        uid,
        "object",
        [encode_webp(one) if webp else png(one) for one in pixels],
        cameras,
        {"depth": encode_depth(depth), "normals": encode_normals(normals)},
        caption="a thing, of noise",
        name="Thing",
        creator="Nobody",
        license="CC0-1.0",
        source="made here",
    )


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def stored(path, records):
    from diffgs_jax.data import encode_record

    sides = {"train": records[:-1], "test": records[-1:]}
    write_store(path, {side: [(r.uid, lambda r=r: encode_record(r)) for r in some] for side, some in sides.items()}, {})
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A store, its rows, and the rows of those rows."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("cv2")
    root = tmp_path_factory.mktemp("rows")
    stored(root / "store", [made_record("a"), made_record("b/c", 1, webp=True), made_record("d", 2)])
    rows = ConversionSettings(layout="diffsplat", shard_size=1)
    assert recognise_source(root / "store") == "store"
    assert convert(read_store(root / "store").items, root / "once", rows, description={}) == {}
    assert convert(read_diffsplat(root / "once").items, root / "twice", rows, description={}) == {}
    return root


def by_uid(records):
    return {record.uid: record for record in records}


def test_what_is_written_is_read_back(folders):
    names = sorted(file.name for file in (folders / "once").iterdir())
    assert names == [
        "objects-test-00000-of-00001.parquet",
        "objects-train-00000-of-00002.parquet",
        "objects-train-00001-of-00002.parquet",
    ]
    found = by_uid(read_diffsplat(folders / "once"))
    for split in ("train", "test"):
        for record in open_store(folders / "store", split):
            back = found.pop(record.uid)
            assert back._replace(images=0, cameras=0, maps=0) == record._replace(images=0, cameras=0, maps=0)
            np.testing.assert_array_equal(back.cameras.camera_to_world, record.cameras.camera_to_world)
            np.testing.assert_array_equal(back.cameras.intrinsics, record.cameras.intrinsics)
            for mine, theirs in zip(back.images, record.images, strict=True):
                np.testing.assert_array_equal(decode_premultiplied(mine), decode_premultiplied(theirs))
            depth, truth = decode_depth(back.maps["depth"]), decode_depth(record.maps["depth"])
            np.testing.assert_allclose(depth, truth, atol=1.5e-4)
            np.testing.assert_allclose(
                decode_normals(back.maps["normals"]), decode_normals(record.maps["normals"]), atol=2 / 255
            )
    assert not found


def test_what_was_read_once_is_read_the_same_again(folders):
    once, twice = by_uid(read_diffsplat(folders / "once")), by_uid(read_diffsplat(folders / "twice"))
    assert once.keys() == twice.keys()
    for uid, record in once.items():
        assert record._replace(cameras=0) == twice[uid]._replace(cameras=0)
        for mine, theirs in zip(record.cameras, twice[uid].cameras, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    sides = {item.uid: item.split for item in read_diffsplat(folders / "twice").items}
    assert sides == {"a": "train", "b/c": "train", "d": "test"}


def test_a_row_is_what_the_published_loader_decodes():
    """Its rules, written out: columns of the camera, normals of axes (−R, −B, G), depth 5 for the largest code."""
    cv2 = pytest.importorskip("cv2")
    record = made_record()
    row = diffsplat_row(record)
    assert row["uid"] == b"thing" and "00024.png" not in row and "00025.png" in row and "00027.png" in row
    depth, normals = decode_depth(record.maps["depth"]), decode_normals(record.maps["normals"])
    for view, number in ((3, 3), (25, 26)):
        camera = json.loads(row[f"{number:05d}.json"])
        pose = record.cameras.camera_to_world[view]
        for column, key in enumerate("xyz"):
            np.testing.assert_allclose(camera[key], pose[:3, column], atol=1e-7)
        np.testing.assert_allclose(camera["origin"], pose[:3, 3] / 2, atol=1e-7)
        assert abs(camera["x_fov"] - np.radians(39.6)) < 1e-6
        codes = cv2.imdecode(np.frombuffer(row[f"{number:05d}_nd.png"], np.uint8), cv2.IMREAD_UNCHANGED)
        b, g, r, a = np.moveaxis(codes.astype(float) / 65535, -1, 0)
        known = np.isfinite(depth[view])
        np.testing.assert_allclose(a[known] * 5 * 2, depth[view][known], atol=1e-4)
        assert (a[~known] == 0).all()
        world = np.stack([-(2 * r - 1), -(2 * b - 1), 2 * g - 1], axis=-1)
        np.testing.assert_allclose(world[known], normals[view][known], atol=1e-4)


def test_what_does_not_fit_is_told():
    record = made_record()
    with pytest.raises(DataError, match=r"thing \(object with depth\) is none of"):
        diffsplat_row(record._replace(maps={"depth": record.maps["depth"]}))
    with pytest.raises(DataError, match="scene with depth and normals"):
        diffsplat_row(record._replace(domain="scene"))
    off = record.cameras._replace(intrinsics=record.cameras.intrinsics + np.float32([0, 0, 0.1, 0]))
    with pytest.raises(DataError, match="view 0: the intrinsics"):
        diffsplat_row(record._replace(cameras=off))
    far = record.maps["depth"]
    far = EncodedMap(far.views, {**far.meaning, "scale": far.meaning["scale"] * 5})
    with pytest.raises(DataError, match="10.0 fit"):
        diffsplat_row(record._replace(maps={**record.maps, "depth": far}))


def test_a_frame_that_makes_no_sense_is_named(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for frame in ({"offset": [0, 0], "scale": 2}, {"offset": [0, 0, 0], "scale": 0}, {"scale": 1}, "x"):
        row = diffsplat_row(made_record())
        row["00000.json"] = json.dumps({**json.loads(row["00000.json"]), "object_frame": frame}).encode()
        parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
        with pytest.raises(DataError, match="record thing: view 0 has an .*object_frame"):
            next(read_diffsplat(tmp_path))


def test_a_store_keeps_its_size(folders):
    from diffgs_jax.datasets import SourceOptions

    with pytest.raises(UserError, match="leave --size out"):
        read_store(folders / "store", SourceOptions(size=4))
    records = list(read_store(folders / "store", SourceOptions(maps=False)))
    assert [record.uid for record in records] == ["a", "b/c", "d"] and not any(record.maps for record in records)
