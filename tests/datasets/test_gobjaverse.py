"""G-Objaverse and DiffSplat: EXR by OpenEXR, tar by tarfile, parquet by pyarrow, 16-bit PNG by OpenCV."""

import json
import tarfile

import numpy as np
import pytest

from diffgs_jax.data import DataConfig, ViewChoice, training_batches
from diffgs_jax.data.maps import decode_depth, decode_normals
from diffgs_jax.datasets import SourceOptions, read_diffsplat, read_gobjaverse, recognise_source
from diffgs_jax.datasets.conversion import ConversionSettings, convert
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models import Requirements, Text

KEPT = [view for view in range(40) if view not in (24, 39)]


def camera_json(views, view):
    pose = views.cameras.camera_to_world[view].astype(float)
    columns = {key: pose[:3, column].tolist() for column, key in enumerate(("x", "y", "z", "origin"))}
    return json.dumps({"max": [0.5] * 3, "min": [-0.5] * 3, "x_fov": 0.69115, "y_fov": 0.69115, **columns})


def stored_normals(views, view):
    """Blender's (x, y, z) = (−R, −B, G), so (R, G, B) = (−x, z, −y)."""
    x, y, z = np.moveaxis(views.normals[view], -1, 0)
    return np.stack([-x, z, -y], axis=-1)


def write_instance(folder, views, tools):
    openexr = pytest.importorskip("OpenEXR")
    for view in range(40):
        home = folder / f"{view:05d}"
        home.mkdir(parents=True)
        stem = home / f"{view:05d}"
        stem.with_suffix(".json").write_text(camera_json(views, view))
        stem.with_suffix(".png").write_bytes(tools.png(views.pictures[view]))
        normals = stored_normals(views, view).astype(np.float32)  # NaN outside, as published ones sometimes are
        channels = {name: np.ascontiguousarray(normals[..., axis]) for axis, name in enumerate("RGB")}
        channels["A"] = np.nan_to_num(views.depth[view]).astype(np.float32)
        openexr.File({"compression": openexr.ZIP_COMPRESSION}, channels).write(f"{stem}_nd.exr")
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory, published_ring, tools):
    root = tmp_path_factory.mktemp("gobjaverse")
    write_instance(root / "0" / "10010" / "campos_512_v4", published_ring, tools)
    return root


def test_unprojected_depth_lands_in_the_other_masks(published, published_ring, tools):
    (record,) = read_gobjaverse(published)
    tools.check(record, 38)
    assert record.uid == "0/10010" and record.domain == "object"
    assert recognise_source(published) == "gobjaverse"
    assert tools.landing_by_own_depth(record) >= 0.99
    # The miniature is in the object frame, at half its size: the reader finds both out from the depth alone.
    scale, rotation, offset = tools.similarity(
        published_ring.cameras.camera_to_world[KEPT], record.cameras.camera_to_world
    )
    assert abs(scale / 2 - 1) < 0.05 and np.abs(offset).max() < 0.05
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(
        decode_depth(record.maps["depth"]) / scale,
        np.where(published_ring.pictures[KEPT][..., 3] >= 254, published_ring.depth[KEPT], np.nan),
        atol=1e-3,
    )


def test_normals_are_in_world_axes_and_nan_is_no_normal(published, published_ring):
    (record,) = read_gobjaverse(published)
    normals = decode_normals(record.maps["normals"])
    seen = published_ring.pictures[KEPT][..., 3] >= 254
    np.testing.assert_allclose(normals[seen], published_ring.normals[KEPT][seen], atol=0.01)
    assert np.isnan(normals[~seen]).all()


def test_every_path_variant_gives_the_same_record(published, published_ring, tools, tmp_path):
    (expected,) = read_gobjaverse(published)
    source = published / "0" / "10010" / "campos_512_v4"
    (tmp_path / "flat" / "7").mkdir(parents=True)
    (tmp_path / "flat" / "7" / "42").symlink_to(source)
    (tmp_path / "tars" / "0").mkdir(parents=True)
    with tarfile.open(tmp_path / "tars" / "0" / "10010.tar", "w") as archive:
        archive.add(source, "10010/campos_512_v4")
    variants = {
        tmp_path / "flat": "7/42",
        tmp_path / "tars": "0/10010",
        tmp_path / "tars" / "0" / "10010.tar": "10010",
        published / "0" / "10010": "10010",
    }
    for path, uid in variants.items():
        (record,) = read_gobjaverse(path)
        assert record.uid == uid
        assert record.images == expected.images and record.maps == expected.maps
        np.testing.assert_array_equal(record.cameras.camera_to_world, expected.cameras.camera_to_world)


def test_a_bad_instance_is_named_and_the_others_are_read(published_ring, tools, tmp_path):
    for number in (1, 2, 3):
        write_instance(tmp_path / "0" / str(number) / "campos_512_v4", published_ring, tools)
    views = tmp_path / "0" / "2" / "campos_512_v4"
    exr = views / "00003" / "00003_nd.exr"
    exr.write_bytes(exr.read_bytes()[:200])
    (tmp_path / "0" / "9.tar").write_bytes(b"no archive")
    records, uids, errors = read_gobjaverse(tmp_path, SourceOptions(size=32, maps=False)), [], []
    while True:
        try:
            uids.append(next(records).uid)
        except StopIteration:
            break
        except DataError as error:
            errors.append(str(error))
    assert uids == ["0/1", "0/3"]
    assert len(errors) == 2
    assert any("0/9" in error and "archive" in error for error in errors)
    assert any("record 0/2" in error and "00003_nd.exr" in error for error in errors)
    (views / "00003" / "00003.json").write_text('{"x": [0, 0, 1]}')
    with pytest.raises(DataError, match="view 3 has no camera|00003_nd"):
        next(read_gobjaverse(views.parent))
    (views / "00000" / "00000.png").unlink()
    with pytest.raises(DataError, match="cannot read .*00000.png"):
        next(read_gobjaverse(views.parent))


def test_a_mirrored_world_is_refused(published_ring, tools, tmp_path):
    pose = published_ring.cameras.camera_to_world.copy()
    pose[:, 0] *= -1
    write_instance(
        tmp_path / "1", published_ring._replace(cameras=published_ring.cameras._replace(camera_to_world=pose)), tools
    )
    with pytest.raises(DataError, match="left-handed"):
        next(read_gobjaverse(tmp_path))


def parquet_row(views, tools, missing=()):
    cv2 = pytest.importorskip("cv2")
    row = {"uid": b"objaverse/000-000/horse.tar"}
    for view in range(40):
        normals = np.nan_to_num(stored_normals(views, view))
        depth = np.nan_to_num(views.depth[view])[..., None] / 5
        rgba = np.rint(np.concatenate([normals * 0.5 + 0.5, depth], axis=-1) * 65535).astype(np.uint16)
        nd = cv2.imencode(".png", rgba[..., [2, 1, 0, 3]])[1].tobytes()
        files = {".png": tools.png(views.pictures[view]), ".json": camera_json(views, view).encode(), "_nd.png": nd}
        row |= {f"{view:05d}{name}": None if view in missing else data for name, data in files.items()}
    return row


def test_diffsplat_rows_unproject_into_the_other_masks(published_ring, tools, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [parquet_row(published_ring, tools), parquet_row(published_ring, tools, missing=(5, 6))]
    rows[1]["uid"] = b"second"
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "00000.parquet", row_group_size=1)
    first, second = read_diffsplat(tmp_path)
    assert recognise_source(tmp_path) == "diffsplat"
    tools.check(first, 38)
    tools.check(second, 36)
    assert (first.uid, second.uid) == ("objaverse/000-000/horse.tar", "second")
    assert tools.landing_by_own_depth(first) >= 0.99
    assert tools.landing_by_own_depth(second) >= 0.99
    seen = published_ring.pictures[KEPT][..., 3] >= 254
    np.testing.assert_allclose(
        decode_normals(first.maps["normals"])[seen], published_ring.normals[KEPT][seen], atol=0.01
    )


def test_a_bad_row_and_a_truncated_file_are_named(published_ring, tools, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    bad, good = parquet_row(published_ring, tools), parquet_row(published_ring, tools)
    bad["00007.png"], bad["uid"] = bad["00007.png"][:100], b"bad"
    parquet.write_table(pyarrow.Table.from_pylist([bad, good]), tmp_path / "a.parquet", row_group_size=1)
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    records = read_diffsplat(tmp_path)
    with pytest.raises(DataError, match=r"a.parquet, row 0, record bad: 00007.png is an unreadable picture"):
        next(records)
    assert next(records).uid == "objaverse/000-000/horse.tar"
    with pytest.raises(DataError, match=r"b.parquet"):
        next(records)
    with pytest.raises(StopIteration):
        next(records)


def which_views(poses, truth):
    """Finds the stored views of a sample, and the turn about z that the world made."""
    np.testing.assert_allclose(poses[0, 1, 3], 0.0, atol=1e-5)
    for first in KEPT:
        turn = poses[0, :3, :3] @ truth[first, :3, :3].T
        off = np.abs(poses[:, None, :3, :3] - turn @ truth[KEPT][None, :, :3, :3]).max(axis=(2, 3))
        if off.min(axis=1).max() < 1e-3 and np.abs(turn[2] - [0, 0, 1]).max() < 1e-3:
            return [KEPT[number] for number in off.argmin(axis=1)], turn
    raise AssertionError("no stored views are those of the sample")


def tokenize(captions):
    """The bytes of each, padded."""
    rows = [list(caption.encode()) for caption in captions]
    tokens = np.asarray([row + [0] * (32 - len(row)) for row in rows], np.int32)
    return Text(tokens, tokens != 0)


@pytest.mark.parametrize(("layout", "kind"), [("gobjaverse", "limited"), ("diffsplat", "even")])
def test_normals_and_captions_reach_the_batches(published, published_ring, tools, tmp_path, layout, kind):
    """From published files through a store to training, held against the truth, turned as the sample's cameras are."""
    if layout == "gobjaverse":
        items = read_gobjaverse(published).items
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist([parquet_row(published_ring, tools)]), tmp_path / "0.parquet")
        items = read_diffsplat(tmp_path).items
    named = [item._replace(read=lambda item=item: item.read()._replace(caption="a horse")) for item in items]
    convert(named, tmp_path / "store", ConversionSettings(test_percent=0.0), description={})
    config = DataConfig(path=str(tmp_path / "store"), batch_size=2, novel_views=4, view_choice=ViewChoice(kind))
    needs = Requirements(makes="gaussians", maps=("depth", "normals"), tokenize=tokenize)
    batches = training_batches(config, requirements=needs)
    truth = published_ring.cameras.camera_to_world.astype(float)
    compared = 0
    for _ in range(3):
        batch = next(batches)
        assert [bytes(row[mask].tolist()) for row, mask in zip(*batch.text, strict=True)] == [b"a horse"] * 2
        parts = [batch.inputs, batch.targets]
        poses = np.concatenate([part.cameras.camera_to_world for part in parts], axis=1)
        normals = np.concatenate([part.normals for part in parts], axis=1)
        depths = np.concatenate([part.depths for part in parts], axis=1)
        for sample in range(2):
            views, turn = which_views(poses[sample], truth)
            if kind == "even":
                azimuths = np.degrees(np.arctan2(truth[views[:4], 1, 3], truth[views[:4], 0, 3]))
                np.testing.assert_allclose(np.diff(azimuths) % 360, 90.0, atol=1e-3)
            seen = published_ring.pictures[views][..., 3] >= 254
            np.testing.assert_array_equal(np.isfinite(normals[sample]).all(axis=-1), seen)
            expected = published_ring.normals[views] @ turn.T
            np.testing.assert_allclose(normals[sample][seen], expected[seen], atol=0.01)
            # One scale takes all the lengths of the published world to those of the object frame.
            scale = depths[sample][seen] / published_ring.depth[views][seen]
            np.testing.assert_allclose(scale, np.median(scale), rtol=1e-3)
            assert abs(np.median(scale) / 2 - 1) < 0.05
            compared += int(seen.sum())
    batches.close()
    assert compared > 10_000


def test_nothing_there_is_bad_usage(tmp_path):
    for read in (read_gobjaverse, read_diffsplat):
        with pytest.raises(UserError):
            read(tmp_path / "nowhere")
